"""compiler/emit/sizes.py: one function for all sizes, in all modes, against NumPy and LLVM."""

import numpy as np
import pytest
import tvm
import tvm_ffi

from microscopiq import runtime
from microscopiq.compiler.emit.sizes import with_sizes
from microscopiq.compiler.kinds.registry import emit_tile, kind_of
from microscopiq.compiler.operators import Gemm, Quantize
from microscopiq.compiler.symbolic import Symbol, largest
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import UnsupportedError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY = load_arch("tiny-4x4")


def size(name: str, most: int):
    return Symbol(name, 1, most).number


CASES = {
    "rows": (Quantize(size("rows", 50), 40, 16), [{"rows": n} for n in (1, 7, 50)]),
    "groups": (Quantize(9, size("length", 300), 128), [{"length": n} for n in (1, 128, 129, 300)]),
    "one group": (Quantize(3, size("length", 100), 128), [{"length": n} for n in (1, 7, 100)]),
    "pixels": (
        Quantize(20, 130, 128, batch=size("batch", 4), across=True),
        [{"batch": n} for n in (1, 4)],
    ),
    "product": (
        Gemm(size("batch", 3), 1, size("m", 20), size("n", 30), size("k", 40), ""),
        [
            {"batch": 2, "m": 13, "n": 7, "k": 33},
            {"batch": 1, "m": 1, "n": 1, "k": 1},
            {"batch": 3, "m": 20, "n": 30, "k": 40},
            {"batch": 3, "m": 5, "n": 29, "k": 3},
        ],
    ),
    "product of groups": (
        Gemm(1, 1, size("m", 4), size("n", 6), size("k", 260), ""),
        [
            {"m": 3, "n": 6, "k": 33},
            {"m": 4, "n": 5, "k": 128},
            {"m": 1, "n": 6, "k": 260},
            {"m": 2, "n": 1, "k": 129},
        ],
    ),
}


def numbers(argument: Argument, rng) -> np.ndarray:
    if argument.is_output:
        return np.zeros(argument.shape, argument.dtype)
    if argument.dtype == "float32":
        return rng.normal(size=argument.shape).astype(np.float32)
    most = 20 if "exponent" in argument.name else 127
    return rng.integers(-most, most + 1, argument.shape).astype(np.int8)


@pytest.mark.parametrize("name", CASES)
def test_every_way_gives_the_same_bits(name):
    op, calls = CASES[name]
    kind = kind_of(op)
    function = emit_tile(op, kind.default_tile(largest(op), TINY), TINY, "f", "", b"")
    module = create(Program.for_arch(TINY, {"f": function}).to_bytes())
    reference = tvm.compile(kind.expression(op), target="llvm")["main"]

    def on_machine(mode, *tensors):
        module["microscopiq.set_mode"](mode)
        module["f"](*map(tvm_ffi.from_dlpack, tensors))

    def on_llvm(*tensors):
        given = [tvm.runtime.tensor(each) for each in tensors]
        reference(*given)
        for each, tensor in zip(tensors, given, strict=True):
            each[...] = tensor.numpy()

    for at in calls:
        rng = np.random.default_rng(0)
        given = [numbers(argument, rng) for argument in function.at(at).arguments]
        results = []
        for way in (
            on_llvm,
            lambda *tensors: on_machine("fast", *tensors),
            lambda *tensors: on_machine("structural", *tensors),
            lambda *tensors: run(function, TINY, list(tensors)),
        ):
            tensors = [each.copy() for each in given]
            way(*tensors)
            results.append(b"".join(each.tobytes() for each in tensors))
        assert results[1:] == results[:1] * 3, at


def test_a_size_that_no_argument_tells():
    argument = Argument("x", "int8", (size("n", 4) * size("m", 4), 2))
    with pytest.raises(UnsupportedError, match="no argument's shape tells the size 'm'"):
        with_sizes(Function("f", "", (argument,), (isa.End(),)))
    code = (isa.Loop(size("n", 4)), isa.EndLoop(), isa.End())
    with pytest.raises(UnsupportedError, match="no argument's shape tells the size 'n'"):
        with_sizes(Function("f", "", (Argument("x", "int8", (3,)),), code))
