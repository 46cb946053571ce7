"""target/layouts.py: bytes of others, their values by ml_dtypes or by their own description."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from microscopiq.target.errors import InputError
from microscopiq.target.layouts import BLOCK_SCALED, LAYOUTS, Stored, read, write
from microscopiq.target.packing import pack, unpack
from microscopiq.target.weight import QuantizedWeight, dequantize, empty

SCALES = {"mxfp4": ml_dtypes.float8_e8m0fnu, "mxint8": ml_dtypes.float8_e8m0fnu,
          "nvfp4": ml_dtypes.float8_e4m3fn}  # fmt: skip
OUT, INPUTS = 260, 512


def some_weight(name: str, out: int = OUT, inputs: int = INPUTS) -> QuantizedWeight:
    """Return a weight in which every code and many scales occur."""
    rng = np.random.default_rng(5)
    weight = empty(name, out, inputs)
    row = weight.row
    good = np.flatnonzero(np.abs(row.values) <= row.q_max)
    weight.slots[:] = rng.choice(good, weight.slots.shape)
    weight.slots.flat[: len(good)] = good
    scales = np.exp2(rng.uniform(-6, 6, weight.scale.shape)).astype(np.float32)
    weight.scale[:] = row.column_scale.encode(scales)
    if weight.factor is None:
        return weight
    return replace(weight, factor=np.float32([0.37]))


def element_values(codes: bytes, name: str) -> np.ndarray:
    """Return float32 ``(out, in)`` of codes in rows, as ml_dtypes has them."""
    data = np.frombuffer(codes, np.uint8).reshape(OUT, -1)
    if name == "mxint8":
        return data.view(np.int8) / np.float32(64)
    both = np.stack([data & 15, data >> 4], axis=-1).reshape(OUT, INPUTS)
    return both.view(ml_dtypes.float4_e2m1fn).astype(np.float32)


@pytest.mark.parametrize("name", BLOCK_SCALED)
def test_rows_mean_what_ml_dtypes_says(name):
    weight = some_weight(name)
    stored = write(weight, "rows")
    scales = np.frombuffer(stored.scales, SCALES[name]).astype(np.float32).reshape(OUT, -1)
    values = element_values(stored.codes, name) * np.repeat(scales, weight.row.group, axis=1)
    np.testing.assert_allclose(dequantize(weight), values * np.float32(stored.factor), rtol=1e-6)
    assert stored.factor == (pytest.approx(0.37) if name == "nvfp4" else 1.0)


@pytest.mark.parametrize("name", BLOCK_SCALED)
@pytest.mark.parametrize("shape", [(OUT, INPUTS), (1, 32), (128, 128), (129, 96)])
def test_tiles_of_scales(name, shape):
    """Walked as cuBLAS describes them: rows 0, 32, 64 and 96 of a tile lie side by side."""
    weight = some_weight(name, *shape)
    stored, plain = write(weight, "cublas"), weight.scale.T
    assert stored.codes == write(weight, "rows").codes
    assert len(stored.scales) % 512 == 0
    found = iter(stored.scales)
    out, count = plain.shape
    for first_row in range(0, out, 128):
        for first_block in range(0, count, 4):
            for low in range(32):
                for row in range(first_row + low, first_row + 128, 32):
                    for block in range(first_block, first_block + 4):
                        inside = row < out and block < count
                        assert next(found) == (plain[row, block] if inside else 0)
    assert next(found, None) is None


def test_gguf_blocks_of_q4_0():
    """A block is 18 bytes; a value is its nibble less 8, times the scale in front."""
    weight = some_weight("int4-g32", 3, 64)
    data = write(weight, "gguf").codes
    assert len(data) == 3 * 2 * 18
    values = []
    for start in range(0, len(data), 18):
        scale = np.frombuffer(data, "<f2", 1, start)[0].astype(np.float32)
        nibbles = data[start + 2 : start + 18]
        values += [scale * np.float32((byte & 15) - 8) for byte in nibbles]
        values += [scale * np.float32((byte >> 4) - 8) for byte in nibbles]
    np.testing.assert_array_equal(dequantize(weight).ravel(), values)


@pytest.mark.parametrize(
    ("layout", "name"), [(layout, name) for layout in LAYOUTS for name in LAYOUTS[layout].formats]
)
def test_read_inverts_write(layout, name):
    weight = some_weight(name)
    again = read(write(weight, layout), name, OUT, INPUTS, layout)
    for part in ("slots", "scale", "factor"):
        np.testing.assert_array_equal(getattr(again, part), getattr(weight, part))
    # And the machine takes it.
    (taken,) = unpack(pack([again]), name, OUT, INPUTS)
    np.testing.assert_array_equal(dequantize(taken), dequantize(weight))


def test_a_factor_is_1_where_none_is_given():
    found = read(Stored(bytes(16), bytes([56, 48])), "nvfp4", 1, 32, "rows")
    np.testing.assert_array_equal(found.factor, np.float32([1]))


def test_refusals():
    weight = some_weight("int4-g32", 2, 64)
    with pytest.raises(InputError, match="layout 'ggml'; allowed: rows, cublas, gguf"):
        write(weight, "ggml")
    with pytest.raises(InputError, match="layout 'rows' has no 'int4-g32'; allowed: mxfp4, nvfp4"):
        write(weight, "rows")
    with pytest.raises(InputError, match="layout 'gguf': 40 inputs; allowed: a multiple of 32"):
        write(some_weight("int4-g32", 2, 40), "gguf")
    with pytest.raises(InputError, match="35 bytes of blocks; allowed: 36"):
        read(Stored(bytes(35)), "int4-g32", 1, 64, "gguf")
    with pytest.raises(InputError, match="31 bytes of scales; allowed: 32"):
        read(Stored(bytes(16 * 32), bytes(31)), "mxfp4", 32, 32, "rows")
    # -8 is a code of Q4_0 that no machine of ours multiplies by.
    lowest = bytes([0, 60]) + bytes([0x88] * 14 + [0x08] * 2)
    with pytest.raises(
        InputError,
        match="gguf: output channel 0, input 30 has code 8 of 'int4-g32'; allowed: those",
    ):
        read(Stored(lowest), "int4-g32", 1, 32, "gguf")
    with pytest.raises(InputError, match="rows: output channel 1, block 0 has a scale of 255"):
        read(Stored(bytes(32), bytes([127, 255])), "mxfp4", 2, 32, "rows")
