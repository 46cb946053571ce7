"""runtime/reference/transfers.py against the C++ core, and both against what is written by hand."""

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.conversions import CONVERSIONS
from microscopiq.target.errors import SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import DTYPES, Argument, Function, Program
from microscopiq.target.isa.spec import Affine, Mem
from tests.runtime.ordered import ordered
from tests.runtime.reference.test_units import TINY, boxes, clips, quick, seeds

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
ZERO = Affine()
FLOATS, NUMBERS, TABLE, OUT, WORDS = range(5)
"""Arguments of a test's function."""


def function(dtype: str, code, out: str = "") -> Function:
    """Return a function that fills obuf, runs the code and stores all of obuf."""
    arguments = (
        Argument("floats", "float32", (1024,)),
        Argument("numbers", "int32", (64,)),
        Argument("table", dtype, (400,)),
        Argument("out", out or dtype, (400,), True),
        Argument("words", "int32", (1024,), True),
    )
    whole = [
        *(isa.Clip(2, 1, 1, ZERO), isa.Clip(3, 1024, 1024, ZERO), isa.Clip(4, 64, 64, ZERO)),
        isa.DmaLoad(Mem.OBUF, ZERO, 0, FLOATS, ZERO, 0, 4, 4, 2, 3),
        isa.DmaLoad(Mem.OBUF, ZERO, 0, NUMBERS, ZERO, 0, 4, 4, 2, 4),
        *code,
        isa.DmaStore(WORDS, ZERO, 0, 4, Mem.OBUF, ZERO, 0, 4, 2, 3),
    ]
    return Function("one", "test", arguments, (*ordered(whole), isa.End()))


def given_arrays(dtype: str, seed: int) -> list[np.ndarray]:
    """Return floats, small non-negative numbers, and a table of any numbers that fit 32 bits."""
    rng = np.random.default_rng(seed)
    floats = rng.standard_normal(1024).astype(np.float32)
    numbers = rng.integers(0, 20, 64, dtype=np.int32)
    if dtype in ("float32", "bool"):
        return [floats, numbers, rng.integers(0, 2, 400).astype(dtype)]
    least, most = (np.iinfo(each) for each in (dtype, np.int32))
    table = rng.integers(max(least.min, most.min), min(least.max, most.max), 400, endpoint=True)
    return [floats, numbers, table.astype(dtype)]


def test_conversions_are_types_of_arguments():
    assert {name: row.bytes for name, row in CONVERSIONS.items()}.items() <= {
        name: size for name, (_, size) in DTYPES.items()
    }.items()


@pytest.mark.parametrize("name", CONVERSIONS)
@quick
@given(boxes(4, start=256, width=9), st.booleans(), st.booleans(), seeds)
def test_converted_load_and_store(core, name, box, transposed, backwards, seed):
    rows, cols, base, pitch = box
    row, size = CONVERSIONS[name], CONVERSIONS[name].bytes
    far, near = (size, size * (rows + 1)) if transposed else (size * (cols + 2), size)
    first = size * 200
    if backwards:
        near = -near
    common = (size, 0, 1, row.code)
    code = [
        *clips(rows, cols),
        isa.DmaLoad(Mem.OBUF, Affine(base), pitch, TABLE, Affine(first), far, near, *common),
        isa.DmaStore(OUT, Affine(first), far, near, Mem.OBUF, Affine(base), pitch, *common),
    ]
    filled = given_arrays(name, seed)
    out, words = core(function(name, code), TINY, filled)
    at = (first + far * np.arange(rows)[:, None] + near * np.arange(cols)) // size
    np.testing.assert_array_equal(out[at], filled[TABLE][at])
    place = (base + pitch * np.arange(rows)[:, None]) // 4 + np.arange(cols)
    np.testing.assert_array_equal(words[place], filled[TABLE][at].astype(np.int32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int8", [0, 127, -128, -1, 44]),
        ("uint8", [0, 127, 128, 255, 44]),
        ("int16", [0, 127, 128, -1, 300]),
        ("int64", [0, 127, 128, -1, 300]),
    ],
)
def test_stores_keep_the_lowest_bits(core, name, expected):
    row = CONVERSIONS[name]
    code = [
        *clips(1, 5),
        isa.DmaStore(OUT, ZERO, 0, row.bytes, Mem.OBUF, ZERO, 0, row.bytes, 0, 1, row.code),
    ]
    filled = given_arrays(name, 0)
    filled[NUMBERS][:5] = [0, 127, 128, -1, 300]
    out, _ = core(function(name, code), TINY, filled)
    np.testing.assert_array_equal(out[:5], expected)


@pytest.mark.parametrize("name", ["float32", "bool", "int32", *CONVERSIONS])
@quick
@given(boxes(8, start=256, width=5), st.sampled_from([0, 4, 8]), st.booleans(), seeds)
def test_gather(core, name, box, index_pitch, plain, seed):
    """Rows by index, as they are or as words, into the memory of words or another."""
    rows, cols, base, pitch = box
    kind, size = CONVERSIONS.get("uint8" if name == "bool" else name), DTYPES[name][1]
    convert = 0 if plain or kind is None else kind.code
    mem = Mem.OBUF if convert or seed % 2 else Mem.SPAD
    code = [
        *clips(rows, cols),
        isa.DmaGather(
            *(mem, Affine(base), pitch, TABLE, Affine(3 * size), 8 * size, size, size),
            *(Affine(20), index_pitch, 20, 0, 1, convert),
        ),
    ]
    if mem is Mem.SPAD:
        code.append(
            isa.DmaStore(OUT, ZERO, size * cols, size, mem, Affine(base), pitch, size, 0, 1)
        )
    filled = given_arrays(name, seed)
    out, words = core(function(name, code), TINY, filled)
    index = filled[NUMBERS][5 + index_pitch // 4 * np.arange(rows)]
    expected = filled[TABLE][3 + 8 * index[:, None] + np.arange(cols)]
    if mem is Mem.SPAD:
        np.testing.assert_array_equal(out[: rows * cols], expected.ravel())
    elif convert:
        place = (base + pitch * np.arange(rows)[:, None]) // 4 + np.arange(cols)
        np.testing.assert_array_equal(words[place], expected.astype(np.int32))


INT64 = CONVERSIONS["int64"].code
GATHER = dict(
    mem=Mem.OBUF, dst=Affine(1024), dst_pitch=16, arg=TABLE, src=ZERO, src_pitch=32, src_step=8,
    element=8, index=ZERO, index_pitch=4, limit=20, rows=0, cols=1, convert=INT64,
)  # fmt: skip
LOAD = (Mem.OBUF, Affine(1024), 16, TABLE, ZERO, 32, 8, 8, 0, 1)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (isa.DmaGather(**GATHER), r"index 20 of row 2, obuf address 0x8; allowed: 0 to 19"),
        (isa.DmaGather(**GATHER | {"limit": 101}), r"101 rows 32 bytes apart of 4 elements"),
        (
            isa.DmaGather(**GATHER | {"dst": Affine(8)}),
            r"the rows at 0x8 lie on the indices at 0x0; allowed: apart from them",
        ),
        (
            isa.DmaLoad(*LOAD, INT64),
            r"\(table\) address 0x28: int64 3000000000; allowed: -2147483648",
        ),
        (
            isa.DmaLoad(*LOAD[:7], 4, 0, 1, INT64),
            r"elements of 4 bytes; int64 has 8",
        ),
        (
            isa.DmaLoad(Mem.SPAD, *LOAD[1:], INT64),
            r"words of spad are converted; allowed: those of obuf",
        ),
        (
            isa.DmaStore(OUT, ZERO, 8, 8, Mem.ACC, ZERO, 16, 8, 0, 1, INT64),
            r"words of acc are converted; allowed: those of obuf",
        ),
        (
            isa.DmaLoad(Mem.OBUF, Affine(1026), *LOAD[2:], INT64),
            r"obuf address 0x402, pitch 16: not aligned; allowed: multiples of 4",
        ),
    ],
)
def test_refusals(instruction, message):
    filled = given_arrays("int64", 0)
    filled[NUMBERS][:4], filled[TABLE][:8] = [3, 19, 20, 0], [1, 2, 3, -(2**31), 4, 3 * 10**9, 0, 0]
    one = function("int64", [*clips(4, 4), instruction])
    outputs = [np.zeros(a.shape, a.dtype) for a in one.arguments if a.is_output]
    module = create(Program.for_arch(TINY, {"one": one}).to_bytes())
    with pytest.raises(SimError, match=message):
        module["one"](*map(tvm_ffi.from_dlpack, [*filled, *outputs]))


def test_reference_refuses_as_the_core_does(core):
    filled = given_arrays("int64", 0)
    filled[NUMBERS][:4], filled[TABLE][5] = [3, 19, 20, 0], 3 * 10**9
    for instruction, message in [
        (isa.DmaGather(**GATHER), "index 20 of row 2; allowed: 0 to 19"),
        (isa.DmaLoad(*LOAD, INT64), "int64 3000000000; allowed"),
        (isa.DmaGather(**GATHER | {"dst": Affine(8), "limit": 21}), "lie on their indices"),
    ]:
        with pytest.raises(SimError, match=message):
            core(function("int64", [*clips(4, 4), instruction]), TINY, filled)
