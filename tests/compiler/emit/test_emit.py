"""compiler/emit/emit.py: programs are loops, not unrolled tiles; equal inputs give equal bytes."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq import disassemble, quantize
from microscopiq.compiler.api import build
from microscopiq.compiler.estimate.stand_in import stand_in_segment
from microscopiq.compiler.kinds.registry import emit, emit_tile, scheduled
from microscopiq.compiler.operators import Conv, Gemm, Quantize
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.compiler.tiling.legal import default_gemm_tile, plain_tile
from microscopiq.runtime.session import program_of
from microscopiq.target.arch import arch_names, load_arch
from microscopiq.target.errors import CapacityError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack
from tests.compiler import relax_modules as make

TINY = load_arch("tiny-4x4")


def segment_of(op) -> bytes:
    """Return random weights of an operator's format, packed; none without a format."""
    if not isinstance(op, Gemm) or not op.weight_format:
        return b""
    shape = (op.n, op.k)
    method = "microscopiq" if op.weight_format in ("ms2", "ms4") else "rtn"
    matrices = [make.numbers(*shape, seed=c) for c in range(op.conv_groups)]
    return pack([quantize_weight(method, w, op.weight_format, "w")[0] for w in matrices])


def function_of(op, arch=TINY, tile=None):
    """Return an operator's function, with random weights."""
    return emit(scheduled(op, arch, tile).mod["main"], arch, "f", "layer", segment_of(op))


def conv(size: int) -> Conv:
    return Conv(16, size, size, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)


def linear(m=5, n=10, k=9, **more):
    return Gemm(1, 1, m, n, k, "int4", **more)


def image(size: int) -> Gemm:
    return Gemm(2, 1, size * size, 9, 144, "ms4", conv(size), bias=True)


GROWING = {
    "m": [linear(m=m, n=200) for m in (128, 100_000, 128_000)],
    "n": [linear(n=256), linear(n=1280), linear(n=12_800)],
    "k": [linear(k=256), linear(k=1280), linear(k=12_800)],
    "m, ragged": [linear(m=m, n=200) for m in (129, 100_001)],
    "n, ragged": [linear(n=257), linear(n=1281)],
    "k, ragged": [linear(k=257), linear(k=1281)],
    "batch": [Gemm(b, 1, 33, 10, 11, "") for b in (200, 1000)],
    "pixels": [image(12), image(120)],
    "rows to quantize": [Quantize(rows, 300, 128) for rows in (200, 200_000)],
    "image to quantize, ragged": [Quantize(2, n, n) for n in (10_001, 1_000_000)],
    "image to quantize": [Quantize(2, length, length) for length in (10_000, 1_024_000)],
}


@pytest.mark.parametrize("dimension", GROWING)
def test_program_does_not_grow_with_tiles(dimension):
    # One structure for all sizes: the best one may be another for each.
    tiles = [plain_tile(op, TINY) if op.macs else None for op in GROWING[dimension]]
    pairs = zip(GROWING[dimension], tiles, strict=True)
    codes = [function_of(op, TINY, tile).code for op, tile in pairs]
    # Ragged tiles move a clip into a loop: the order may change, the instructions not.
    assert all(Counter(map(type, code)) == Counter(map(type, codes[0])) for code in codes)
    assert len(codes[0]) < 80


def test_one_tile_has_no_loops():
    code = function_of(Gemm(1, 1, 4, 4, 4, "int8")).code
    assert not any(isinstance(i, isa.Loop | isa.EndLoop) for i in code)


@pytest.mark.parametrize("name", make.MODELS)
def test_program_survives_its_file(name):
    program = make.emitted(make.model(name)).program
    blob = program.to_bytes()
    assert Program.from_bytes(blob) == program
    assert Program.from_bytes(blob).to_bytes() == blob


@pytest.mark.parametrize("arch", arch_names())
def test_compilation_is_deterministic(arch):
    machine = load_arch(arch)
    recipe = "int4" if "int4" in machine.weight_formats else "fineq-w2a8"
    recipe = "olive-w4a4" if machine.pe_activation_bits == 4 else recipe
    first, second = (make.emitted(make.model("chain"), recipe, arch) for _ in range(2))
    assert first.program.to_bytes() == second.program.to_bytes()
    assert first.layers == second.layers


def test_listing_names_layers_and_tiles():
    mod = quantize(make.model("chain"), "microscopiq-w4a8")
    executable = build(mod, arch="tiny-4x4", graph=False)
    text = disassemble(executable)
    assert text.startswith(f"; program for tiny-4x4 ({TINY.hash})")
    for name, function in program_of(executable.mod).functions.items():
        assert f"\n{name}:  ; {function.layer}  ({function.macs:,} MACs)" in text
        for argument in function.arguments:
            assert f" {argument.name}: {argument.dtype}[" in text
        one = disassemble(executable, name)
        assert len(one.splitlines()) >= len(function.code) + len(function.arguments)
        assert one in text or one.split("\n", 1)[1].strip() in text
    for note in ("activation rows of this tile", "weight panel: 128 inputs", "result tile"):
        assert f"; {note}" in text
    assert "loop count=2" in text


def test_every_instruction_with_a_note_keeps_it():
    function = function_of(linear(m=100, n=300, k=300, bias=True))
    silent = {
        type(instruction).__name__
        for index, instruction in enumerate(function.code)
        if index not in function.notes
    }
    assert silent == {"Sem", "Clip", "EndLoop", "End"}
    assert function.macs == 100 * 300 * 300


def test_no_tile_fits():
    arch = small(obuf_bytes=64)
    with pytest.raises(CapacityError) as error:
        scheduled(linear(n=200), arch)
    lines = str(error.value).splitlines()
    assert lines[1].split() == ["memory", "capacity", "needed", "for", "2", "rows"]
    # Two slots of two rows of 128 fp32 columns.
    assert lines[-1].split() == ["obuf", "64", f"{2 * 2 * 128 * 4:,}"]


def test_weight_panels_do_not_fit():
    with pytest.raises(CapacityError) as error:
        function_of(linear(n=200, k=200), small(wbuf_bytes=4096))
    text = str(error.value)
    assert text.startswith("f (layer) doesn't fit small:\n  memory buffer")
    # Header, 128 rows of 64 bytes of 4-bit codes, 128 fp16 scales.
    panel = 4 + 128 * 64 + 256
    assert f"wbuf   w                    2 {2 * panel:>12,}" in text
    assert text.endswith(f"wbuf needs {2 * panel:,} bytes; small has 4,096")


def test_capacity_error_of_a_model_names_the_layer():
    with pytest.raises(CapacityError, match="linear0"):
        build(make.model("onnx linear"), arch=small(obuf_bytes=64), recipe="int8")


def small(**sizes):
    return dataclasses.replace(TINY, name="small", **sizes)


def test_semaphores_are_set_only_to_counts():
    """They start at 0; `tests/runtime/test_mutations.py` found the redundant instructions."""
    for op in (linear(m=100, n=300, k=300), Gemm(3, 1, 33, 10, 200, ""), Quantize(70, 130, 128)):
        counts = [i.value for i in function_of(op).code if isinstance(i, isa.Sem)]
        assert counts and min(counts) > 0


def test_weights_are_in_the_segment_only():
    function = function_of(linear(bias=True))
    assert [a.name for a in function.arguments] == ["x", "x_exponent", "bias", "out"]
    assert np.frombuffer(function.weights, "<u4", 1)[0] == 1


def executed(function):
    """Yield the instructions that a run executes, with loop counters and extents."""
    code, counters, begins, extents, pc = function.code, [], [], {}, 0
    while pc < len(code):
        instruction, pc = code[pc], pc + 1
        match instruction:
            case isa.Loop():
                begins.append(pc)
                counters.append(0)
            case isa.EndLoop():
                counters[-1] += 1
                if counters[-1] < code[begins[-1] - 1].count:
                    pc = begins[-1]
                else:
                    counters.pop(), begins.pop()
            case isa.Clip():
                rest = instruction.limit - instruction.start.at(counters)
                extents[instruction.extent] = max(0, min(instruction.tile, rest))
            case isa.Break() if extents[instruction.extent] == 0:
                pc = next(i for i in range(pc, len(code)) if isinstance(code[i], isa.EndLoop)) + 1
                counters.pop(), begins.pop()
            case _:
                yield instruction, counters, extents


def planes(function) -> list[tuple[int, int]]:
    """Return (plane, array rows) of each preload that a run executes, in order."""
    return [
        (instruction.plane.at(counters), extents[instruction.rows])
        for instruction, counters, extents in executed(function)
        if isinstance(instruction, isa.Preload | isa.PreloadRows)
    ]


@settings(max_examples=40)
@given(
    op=st.builds(
        Gemm,
        batch=st.integers(1, 2),
        conv_groups=st.just(1),
        m=st.integers(1, 90),
        n=st.sampled_from([4, 60, 128, 200, 300]),
        k=st.integers(1, 400),
        weight_format=st.sampled_from(["", "int4", "ms2"]),
    ),
    rows=st.sampled_from([4, 16, 64, 128]),
)
def test_planes_alternate_and_breaks_leave_the_empty_ones_out(op, rows):
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), array_rows=rows, spad_bytes=1 << 15)
    op = dataclasses.replace(op, batch=1) if op.weight_format else op
    # Without its TIR, whose schedule takes longer than all else; other tests emit it from there.
    tile = default_gemm_tile(op, arch)
    function = emit_tile(op, tile, arch, "f", "layer", segment_of(op))
    found = planes(function)
    for (before, _), (after, _) in itertools.pairwise(found):
        assert before != after
    if any(isinstance(instruction, isa.Break) for instruction in function.code):
        assert min(rows for _, rows in found) > 0


@pytest.mark.parametrize(
    ("n", "k", "rows", "breaks"),
    [
        (64, 147, 64, 1),  # ResNet-18's first layer: 64 + 64 + 19 inputs
        (64, 192, 64, 1),
        (64, 193, 64, 0),  # each group fills its planes
        (64, 147, 128, 0),  # one plane for a group
        (128, 147, 64, 1),  # two planes of columns, the inner loop
        (128, 147, 32, 1),
        (128, 190, 32, 1),  # two less are the same slot: inputs are the inner loop
        (192, 147, 64, 0),  # so they are where the last columns are one plane; one less is another
        (192, 147, 32, 0),  # so are three less
    ],
)
def test_where_breaks_are(n, k, rows, breaks):
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), array_rows=rows)
    code = function_of(linear(m=200, n=n, k=k), arch).code
    assert sum(isinstance(instruction, isa.Break) for instruction in code) == breaks


@pytest.mark.parametrize("requantize", [False, True])
@pytest.mark.parametrize(("m", "pieces"), [(100, 1), (1024, 4), (3000, 4), (3001, 3), (4097, 2)])
def test_large_tiles_of_results_are_stored_in_pieces(m, pieces, requantize):
    arch = load_arch("microscopiq-64x64")
    op = linear(m=m, n=200, k=4, requantize=requantize)
    tile = dataclasses.replace(default_gemm_tile(op, arch), store_pieces=pieces)
    segment = stand_in_segment(op)
    function = emit_tile(op, tile, arch, "f", "layer", segment)
    size, rows, stored = 1 if requantize else 4, [], set()
    (out,) = (n for n, a in enumerate(function.arguments) if a.name == "out")
    for instruction, counters, extents in executed(function):
        if not isinstance(instruction, isa.DmaStore) or instruction.arg != out:
            continue
        row, column = divmod(instruction.dst.at(counters) // size, 200)
        rows.append(extents[instruction.rows])
        for offset in range(rows[-1]):
            assert (row + offset, column) not in stored
            stored.add((row + offset, column))
    assert stored == {(row, column) for row in range(m) for column in (0, 128)}
    assert sum(isinstance(i, isa.DmaStore) and i.arg == out for i in function.code) == pieces
