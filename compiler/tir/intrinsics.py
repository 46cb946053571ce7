"""The array as a TIR tensor intrinsic: one weight plane, a stream of activation rows."""

import functools

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from ...target.isa.spec import Mem
from . import script

SCOPES = {mem: f"global.{mem.name.lower()}" for mem in Mem}
"""Storage scopes of the on-chip memories (a scope must start with `global`)."""
SPAD, WBUF, ACC = SCOPES[Mem.SPAD], SCOPES[Mem.WBUF], SCOPES[Mem.ACC]

MATMUL = "microscopiq.matmul"


def matmul_intrinsic(rows: int, array_n: int, array_k: int, weight_dtype: str) -> str:
    """Register the intrinsic of a tile shape and return its name.

    Parameters
    ----------
    rows, array_n, array_k : int
        Activation rows streamed, array columns and array rows in use.
    weight_dtype : str
        ``"int32"`` for decoded weights, ``"int8"`` for an operand quantized at run time.
    """
    name = f"{MATMUL}_{rows}x{array_n}x{array_k}_{weight_dtype}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        sizes = (rows, array_n, array_k)
        TensorIntrin.register(
            name,
            *(
                function.specialize(dict(zip(function.params[3:], sizes, strict=True)))
                for function in _describe(weight_dtype)
            ),
        )
    return name


@functools.lru_cache
def _describe(weight_dtype: str) -> tuple[tirx.PrimFunc, tirx.PrimFunc]:
    """Return the intrinsic of any size: parsing takes time, giving it sizes none."""
    if weight_dtype == "int32":

        @script.prim_func(s_tir=True)
        def description(
            a: T.handle, b: T.handle, c: T.handle, tm: T.int32, tn: T.int32, tk: T.int32
        ) -> None:
            A = T.match_buffer(a, (tm, tk), "int8", offset_factor=1, scope=SPAD)
            B = T.match_buffer(b, (tn, tk), "int32", offset_factor=1, scope=WBUF)
            C = T.match_buffer(c, (tm, tn), "int32", offset_factor=1, scope=ACC)
            with T.sblock("root"):
                T.reads(C[0:tm, 0:tn], A[0:tm, 0:tk], B[0:tn, 0:tk])
                T.writes(C[0:tm, 0:tn])
                for i, j, k in T.grid(tm, tn, tk):
                    with T.sblock(""):
                        vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                        C[vi, vj] = C[vi, vj] + T.Cast("int32", A[vi, vk]) * B[vj, vk]
    else:

        @script.prim_func(s_tir=True)
        def description(
            a: T.handle, b: T.handle, c: T.handle, tm: T.int32, tn: T.int32, tk: T.int32
        ) -> None:
            A = T.match_buffer(a, (tm, tk), "int8", offset_factor=1, scope=SPAD)
            B = T.match_buffer(b, (tn, tk), "int8", offset_factor=1, scope=WBUF)
            C = T.match_buffer(c, (tm, tn), "int32", offset_factor=1, scope=ACC)
            with T.sblock("root"):
                T.reads(C[0:tm, 0:tn], A[0:tm, 0:tk], B[0:tn, 0:tk])
                T.writes(C[0:tm, 0:tn])
                for i, j, k in T.grid(tm, tn, tk):
                    with T.sblock(""):
                        vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                        C[vi, vj] = C[vi, vj] + T.Cast("int32", A[vi, vk]) * T.Cast(
                            "int32", B[vj, vk]
                        )

    @script.prim_func(s_tir=True)
    def implementation(
        a: T.handle, b: T.handle, c: T.handle, tm: T.int32, tn: T.int32, tk: T.int32
    ) -> None:
        sa = T.int32()
        sb = T.int32()
        sc = T.int32()
        A = T.match_buffer(a, (tm, tk), "int8", offset_factor=1, scope=SPAD, strides=[sa, 1])
        B = T.match_buffer(b, (tn, tk), weight_dtype, offset_factor=1, scope=WBUF, strides=[sb, 1])
        C = T.match_buffer(c, (tm, tn), "int32", offset_factor=1, scope=ACC, strides=[sc, 1])
        with T.sblock("root"):
            T.reads(C[0:tm, 0:tn], A[0:tm, 0:tk], B[0:tn, 0:tk])
            T.writes(C[0:tm, 0:tn])
            T.evaluate(
                T.call_extern(
                    "int32", MATMUL, C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r")
                )
            )

    return description, implementation
