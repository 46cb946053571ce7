"""microscopiq.time: the cycles and counts of a full run, without tensors and without values."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import InputError, IsaError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem
from microscopiq.target.segment import panel_bytes, panels, shape_only
from tests.runtime.gemm_program import at, gemm, random_weight
from tests.runtime.ordered import ordered

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
BIG = load_arch("microscopiq-64x64")


def tensors(*arrays):
    return [tvm_ffi.from_dlpack(array) for array in arrays]


def records(module) -> list[dict]:
    return json.loads(module["microscopiq.stats"]())


def module_of(function: Function, arch=BIG):
    return create(Program.for_arch(arch, {function.name: function}).to_bytes())


def assert_times_like_a_run(function: Function, arch, *arrays) -> None:
    """Run with values and without; everything but saturations, which are values, must be equal."""
    module = module_of(function, arch)
    module[function.name](*tensors(*arrays))
    module["microscopiq.time"](function.name)
    module[function.name](*tensors(*arrays))
    full, timed, again = (record | {"saturations": 0} for record in records(module))
    assert timed == full == again


@settings(max_examples=30)
@given(data=st.data())
def test_times_like_a_run_of_a_hand_written_gemm(data):
    draw = data.draw
    m, n, k = draw(st.integers(1, 20)), draw(st.integers(1, 300)), draw(st.integers(1, 300))
    name = draw(st.sampled_from(["ms2", "ms4", "int4", "int8"]))
    arch = dataclasses.replace(
        BIG,
        array_rows=draw(st.sampled_from([8, 16, 64])),
        array_cols=draw(st.sampled_from([8, 16, 64])),
        recon_units=draw(st.integers(1, 4)),
        recon_segment_columns=draw(st.sampled_from([0, 8])),
        queue_depth=draw(st.sampled_from([1, 3, 32])),
        overlap=draw(st.integers(0, 1)),
        edge_trimming=draw(st.integers(0, 1)),
        dram_bandwidth_bytes_per_cycle=draw(st.sampled_from([0, 7, 256])),
        scalesim=draw(st.integers(0, 1)),
    )
    weight = random_weight(name, n, k, seed=draw(st.integers(0, 99)))
    x, bias = np.ones((m, k), np.float32), np.zeros(n, np.float32)
    function = gemm(arch, weight, m)
    assert_times_like_a_run(function, arch, x, bias, np.zeros((m, n), np.float32))
    # Panels that several share, as in a segment that has only shapes.
    kinds = panels(function.weights)
    like = np.arange(len(kinds))
    stand_in = dataclasses.replace(function, weights=shape_only(kinds, like))
    module = module_of(stand_in, arch)
    full = module_of(function, arch)
    for each in (module, full):
        each["microscopiq.time"]("gemm")
        each["microscopiq.time"]("gemm")
    assert records(module) == records(full)
    assert panel_bytes(stand_in.weights).tolist() == [len(kind) for kind in kinds]


def im2col(image, op, row0, col0, rows, cols):
    """Return the tile and how many of its elements lie inside the image."""
    (_channels, height, width), (kernel_h, kernel_w) = image.shape, op["kernel"]
    tile, inside = np.zeros((rows, cols), np.int8), 0
    for r in range(rows):
        out_y, out_x = divmod(row0 + r, op["out_width"])
        for c in range(cols):
            channel, element = divmod(col0 + c, kernel_h * kernel_w)
            y = out_y * op["stride"][0] - op["pad"][0] + element // kernel_w * op["dilation"][0]
            x = out_x * op["stride"][1] - op["pad"][1] + element % kernel_w * op["dilation"][1]
            if 0 <= y < height and 0 <= x < width:
                tile[r, c] = image[channel, y, x]
                inside += 1
    return tile, inside


@settings(max_examples=150)
@given(data=st.data())
def test_im2col_moves_the_same_bytes(data):
    pair = lambda low, high: (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))  # noqa: E731
    kernel = data.draw(st.sampled_from([(1, 1), (3, 3), (1, 7), (2, 3), (12, 12)]))
    op = {"kernel": kernel, "stride": pair(1, 3), "pad": pair(0, 4), "dilation": pair(1, 2),
          "out_width": data.draw(st.integers(1, 30))}  # fmt: skip
    channels, (height, width) = data.draw(st.integers(1, 12)), pair(1, 30)
    elements = channels * kernel[0] * kernel[1]
    col0 = data.draw(st.integers(0, elements - 1))
    cols = data.draw(st.integers(1, min(elements - col0, 200)))
    row0, rows = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 60))
    image = np.random.default_rng(0).integers(-128, 128, (channels, height, width), np.int8)
    shape = (height, width, op["out_width"], *kernel, *op["stride"], *op["pad"], *op["dilation"])
    code = (
        isa.Clip(0, rows, rows, at()),
        isa.Clip(1, cols, cols, at()),
        isa.DmaIm2col(Mem.SPAD, at(), cols, 0, at(), at(row0), at(col0), 0, 1, *shape),
        isa.DmaStore(1, at(), cols, 1, Mem.SPAD, at(), cols, 1, 0, 1),
        isa.End(),
    )
    out = np.zeros((rows, cols), np.int8)
    arguments = (Argument("x", "int8", image.shape), Argument("y", "int8", out.shape, True))
    module = module_of(Function("f", "", arguments, tuple(ordered(code))))
    module["f"](*tensors(image, out))
    module["microscopiq.time"]("f")
    want, inside = im2col(image, op, row0, col0, rows, cols)
    np.testing.assert_array_equal(out, want)
    full, timed = records(module)
    assert full == timed
    assert full["dram_bytes"]["read"] == inside


def test_strided_copies_move_what_they_should():
    rng = np.random.default_rng(0)
    for rows, cols in ((1, 1), (33, 17), (16, 16), (70, 5), (3, 100)):
        for element, dtype in ((1, np.int8), (4, np.float32)):
            x = rng.integers(-99, 99, (cols, rows)).astype(dtype)
            y, z = np.zeros((cols, rows), dtype), np.zeros((rows, cols), dtype)
            size = element * cols
            code = (
                isa.Clip(0, rows, rows, at()),
                isa.Clip(1, cols, cols, at()),
                isa.DmaLoad(
                    *(Mem.OBUF, at(), size, 0, at(), element, element * rows, element, 0, 1)
                ),
                isa.DmaStore(
                    *(1, at(), element, element * rows, Mem.OBUF, at(), size, element, 0, 1)
                ),
                isa.DmaStore(2, at(), size, element, Mem.OBUF, at(), size, element, 0, 1),
                isa.End(),
            )
            outputs = (Argument("y", str(y.dtype), y.shape, True),)
            outputs += (Argument("z", str(z.dtype), z.shape, True),)
            function = Function(
                "f", "", (Argument("x", str(x.dtype), x.shape), *outputs), tuple(ordered(code))
            )
            assert_times_like_a_run(function, BIG, x, y, z)
            np.testing.assert_array_equal(y, x)
            np.testing.assert_array_equal(z, x.T)


def test_overlapping_stores_keep_the_last_element():
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.full(4, -1, np.float32)
    code = (
        isa.Clip(0, 2, 2, at()),
        isa.Clip(1, 3, 3, at()),
        isa.DmaLoad(Mem.OBUF, at(), 12, 0, at(), 12, 4, 4, 0, 1),
        # Rows and columns both one element apart: row 1 wins where they meet.
        isa.DmaStore(1, at(), 4, 4, Mem.OBUF, at(), 12, 4, 0, 1),
        isa.End(),
    )
    arguments = (Argument("x", "float32", x.shape), Argument("y", "float32", y.shape, True))
    module_of(Function("f", "", arguments, tuple(ordered(code))))["f"](*tensors(x, y))
    np.testing.assert_array_equal(y, [0, 3, 4, 5])


def test_a_run_needs_the_weights():
    weight = random_weight("ms4", 130, 140)
    function = gemm(BIG, weight, 3)
    stand_in = dataclasses.replace(
        function, weights=shape_only(panels(function.weights), np.arange(4))
    )
    arrays = (
        np.ones((3, 140), np.float32),
        np.ones(130, np.float32),
        np.ones((3, 130), np.float32),
    )
    with pytest.raises(
        InputError, match="'gemm' has only the shapes of its weights; allowed: to t"
    ):
        module_of(stand_in)["gemm"](*tensors(*arrays))
    with pytest.raises(InputError, match="no function 'gem' in the program"):
        module_of(stand_in)["microscopiq.time"]("gem")


def test_checks_of_a_run_hold_without_values():
    arguments = (Argument("x", "float32", (4,)), Argument("y", "float32", (4,), True))
    clips = (isa.Clip(0, 1, 1, at()), isa.Clip(1, 5, 5, at()))
    for code, message in (
        (isa.DmaLoad(Mem.OBUF, at(), 0, 0, at(), 0, 4, 4, 0, 1), r"argument 0 \(x\) address 0x0"),
        (isa.DmaStore(0, at(), 0, 4, Mem.OBUF, at(), 0, 4, 0, 0), r"argument 0 \(x\) is an input"),
        (isa.Clamp(at(1 << 19), 4, 0.0, 1.0, 0, 1), "obuf address 0x80000"),
        (isa.Matmul(at(), at(), 8, at(), 32, 1, at()), "plane 0 was never loaded"),
        (isa.Preload(at(), at(), 4, at(), at(), 0, 1), "header has format 165"),
        (isa.DmaWeight(at(), at(), 9), "the function has 0"),
    ):
        module = module_of(Function("f", "", arguments, (*clips, code, isa.End())))
        with pytest.raises(SimError, match=message):
            module["microscopiq.time"]("f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: struct.pack_into("<I", s, 4, 9999), "a directory of 4 panels needs"),
        (lambda s: struct.pack_into("<I", s, 8, 1), "offset 0 = 1; allowed"),
        (lambda s: struct.pack_into("<H", s, 28, 4), "panel 0 is like template 4; the segment has"),
        (lambda s: s.__delitem__(slice(6, None)), "truncated"),
    ],
)
def test_malformed_shapes_are_refused(change, message):
    function = gemm(BIG, random_weight("ms4", 130, 140), 3)
    segment = bytearray(shape_only(panels(function.weights), np.arange(4)))
    change(segment)
    with pytest.raises(IsaError, match=message):
        module_of(dataclasses.replace(function, weights=bytes(segment)))


def test_a_panel_must_name_a_template():
    with pytest.raises(InputError, match="like templates 0 to 2; allowed: 0 to 1"):
        shape_only([b"ab", b"cd"], np.array([0, 2]))
