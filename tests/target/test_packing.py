"""target/packing.py: bytes of every format against a second, slow reading of the layout."""

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microscopiq.target.errors import InputError
from microscopiq.target.formats import (
    GROUP_SIZE,
    MACRO_BLOCK,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    WEIGHT_FORMATS,
    outlier_exponent_range,
)
from microscopiq.target.packing import bits_per_weight, pack, unpack
from microscopiq.target.segment import panels, shape_only
from microscopiq.target.weight import QuantizedWeight, blocks, dequantize, empty, integers
from tests.cluster_weights import fill_clusters
from tests.column_scales import fill_scales
from tests.distinct_formats import DISTINCT
from tests.malformed_segments import MALFORMED, fineq_segment, int4_segment, ms4_segment

SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def random_weight(name: str, out: int, inputs: int, seed: int) -> QuantizedWeight:
    """Return a legal weight: any codes, and for ms formats any outliers where they can be."""
    rng, weight = np.random.default_rng(seed), empty(name, out, inputs)
    if weight.row.cluster:
        fill_clusters(weight, rng)
        fill_scales(weight, rng)
        return weight
    weight.slots[:] = rng.integers(0, 1 << weight.row.bits, (out, inputs))
    if weight.scale is not None:
        fill_scales(weight, rng)
        return weight
    weight.isf[:] = rng.integers(-12, -6, weight.isf.shape)
    half = weight.row.mantissa_bits // 2
    sign_bit = weight.row.bits - 1
    for micro, k in zip(*np.nonzero(rng.random(weight.relative_exponent.shape) < 0.1), strict=True):
        width = min(MICRO_BLOCK, out - micro * MICRO_BLOCK)
        places = rng.permutation(width)
        for entry in range(rng.integers(0, min(MAX_OUTLIERS, width // 2) + 1)):
            pair, sign = places[2 * entry : 2 * entry + 2], rng.integers(2)
            weight.pairs[micro, k, entry] = pair
            halves = rng.integers(0, 1 << half, 2)
            weight.slots[micro * MICRO_BLOCK + pair, k] = sign << sign_bit | halves
            weight.relative_exponent[micro, k] = rng.integers(0, 9)
    return weight


def assert_same(a: QuantizedWeight, b: QuantizedWeight) -> None:
    assert a.format == b.format
    for name in ("slots", "scale", "isf", "relative_exponent", "pairs", "pattern", "factor"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("name", DISTINCT)
@settings(max_examples=15)
@given(SHAPES, st.integers(0, 1 << 32))
@example((1, 1), 0)
@example((129, 257), 1)
def test_unpack_inverts_pack(name, shape, seed):
    batch = [random_weight(name, *shape, seed), random_weight(name, *shape, seed + 1)]
    for number, weight in enumerate(unpack(pack(batch), name, *shape)):
        assert_same(weight, batch[number])


E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
E2M3 = [n / 8 for n in (*range(16), *range(16, 32, 2), *range(32, 64, 4))]
NF4 = [-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127]
LAYOUT = {
    # code: bits, kind of scale, inputs of a panel, elements of its codes or of an integer of 1
    1: (4, "fp16", 128, 1), 2: (8, "fp16", 128, 1), 3: (2, "row", 128, 1), 4: (4, "row", 128, 1),
    6: (4, "fp16", 128, None), 7: (2, "fp16", 128, 1), 8: (3, "fp16", 128, 1),
    9: (6, "fp16", 128, 1), 10: (4, "fp16", 64, 1), 11: (4, "fp16", 32, 1),
    12: (4, "e8m0", 32, 2**-2), 13: (6, "e8m0", 32, 2**-4), 14: (8, "e8m0", 32, 2**-6),
    15: (4, "e8m0", 32, E2M1), 16: (6, "e8m0", 32, E2M3), 17: (4, "e4m3", 16, E2M1),
    18: (4, "e4m3", 16, 1), 19: (4, "fp16", 64, NF4),
    20: (4, "fp16", 128, [n / 2 for n in range(8)]), 21: (4, "fp16", 128, E2M1),
    22: (4, "fp16", 128, [0, *(2.0**n for n in range(-2, 5))]),
    23: (4, "fp16", 128, [0, 1, 2, 3, 4, 6, 8, 10]), 24: (4, "row", 32, 1), 25: (4, "row", 16, 1),
}  # fmt: skip
"""The registry a second time, in values instead of integers."""


def slow_decode(segment: bytes, out: int, inputs: int) -> np.ndarray:
    """Return float64 ``(out, in)`` read bit by bit from the layout's description."""
    value, number = np.zeros((out, inputs)), 0
    first = segment[int.from_bytes(segment[4:8], "little")]
    size = 128 if first == 5 else LAYOUT[first][2]
    for column in range(0, out, 128):
        for group in range(0, inputs, size):
            start = int.from_bytes(segment[4 + 4 * number : 8 + 4 * number], "little")
            number += 1
            code, rows, cols, _ = struct.unpack_from("<BBBb", segment, start)
            if code == 5:
                window = _slow_clusters(segment, start + 4, rows + 1, cols + 1)
                value[column : column + cols + 1, group : group + rows + 1] = window
                continue
            bits, scale_kind, _, elements = LAYOUT[code]
            dense, pitch = start + 4, (cols + 8) // 8 * bits
            position = dense + (rows + 1) * pitch
            for k in range(rows + 1):
                line = int.from_bytes(segment[dense + k * pitch :][:pitch], "little")
                slots = [line >> bits * c & (1 << bits) - 1 for c in range(cols + 1)]
                if code == 6:
                    lines = [segment[dense + o * pitch :][:pitch] for o in range(rows + 1)]
                    scale = _slow_scales("fp16", segment, position, cols + 1)
                    row = _slow_pairs(lines, k, cols + 1) * scale
                elif scale_kind != "row":
                    scale = _slow_scales(scale_kind, segment, position, cols + 1)
                    row = [_slow_element(s, bits, elements) * scale[c] for c, s in enumerate(slots)]
                else:
                    row, position = _slow_row(slots, bits, segment, position)
                value[column : column + cols + 1, group + k] = row
    return value


def _slow_element(code: int, bits: int, elements: list[float] | float) -> float:
    if not isinstance(elements, list):  # two's complement
        return (code - (code >> bits - 1 << bits)) * elements
    if len(elements) == 1 << bits:
        return elements[code]
    magnitude = elements[code % len(elements)]
    return -magnitude if code >= len(elements) else magnitude


def _slow_scales(kind: str, segment: bytes, at: int, count: int) -> np.ndarray:
    """Return fp64 scales: fp16; powers of two of bias 127; or OCP's E4M3 and a factor before it."""
    if kind == "fp16":
        return np.frombuffer(segment, "<f2", count, at).astype(float)
    if kind == "e8m0":
        return np.array([2.0 ** (byte - 127) for byte in segment[at : at + count]])
    stored = np.frombuffer(segment, ml_dtypes.float8_e4m3fn, count, at + 4).astype(np.float32)
    return (stored * np.frombuffer(segment, "<f4", 1, at)).astype(float)


def _slow_clusters(segment: bytes, at: int, rows: int, cols: int) -> np.ndarray:
    """FineQ: clusters of three inputs in 6 bits, a pattern for each two; groups by columns."""
    value = np.zeros((cols, rows))
    for first in range(0, rows, 24):
        length = min(24, rows - first)
        clusters = (length + 2) // 3
        size = (6 * clusters + 2 * ((clusters + 1) // 2) + 7) // 8
        for column in range(cols):
            bits = int.from_bytes(segment[at : at + size], "little")
            at += size
            for k in range(length):
                payload = bits >> 6 * (k // 3) & 63
                pattern = bits >> 6 * clusters + 2 * (k // 6) & 3
                if pattern:
                    three = [payload & 7, payload >> 3]
                    three.insert(pattern - 1, 0)
                    sign, magnitude = three[k % 3] >> 2, three[k % 3] & 3
                else:
                    two = payload >> 2 * (k % 3) & 3
                    sign, magnitude = two >> 1, two & 1
                value[column, first + k] = -magnitude if sign else magnitude
    scale = np.frombuffer(segment, "<f2", cols, at).astype(float)
    return value * scale[:, None]


def _slow_pairs(lines: list[bytes], k: int, cols: int) -> np.ndarray:
    """OliVe: 1000b is a victim of rows 2i and 2i + 1; the other is 1.5 or 1 times 2^(e + 3)."""
    value = np.zeros(cols)
    for column in range(cols):
        both = [line[column // 2] >> column % 2 * 4 & 15 for line in lines[k // 2 * 2 :][:2]]
        code, other = both[k % 2], both[1 - k % 2] if len(both) == 2 else 0
        if code == 8:
            continue
        if other == 8 and code:
            sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
            value[column] = (-1) ** sign * (1 + mantissa / 2) * 2 ** (exponent + 3)
        elif other != 8:
            value[column] = code - 16 if code > 7 else code
    return value


def _slow_row(slots: list[int], bits: int, segment: bytes, at: int) -> tuple[list[float], int]:
    """MicroScopiQ A1: Isf, identifiers, then MXScale byte and permutation list where flagged."""
    isf = struct.unpack_from("<b", segment, at)[0]
    micro_blocks = -(-len(slots) // 8)
    flags = int.from_bytes(segment[at + 1 :][: -(-micro_blocks // 8)], "little")
    at += 1 + -(-micro_blocks // 8)
    sign, low = 1 << bits - 1, (1 << bits // 2) - 1
    row = [(-1.0 if s & sign else 1.0) * (s & sign - 1) * 2.0**isf for s in slots]
    for block in range(micro_blocks):
        if not flags >> block & 1:
            continue
        level1_bits, micro_bits = {2: (7, 1), 4: (5, 3)}[bits]
        level1 = segment[at] >> micro_bits
        level1 -= (level1 >> level1_bits - 1) << level1_bits  # signed
        exponent = isf + level1 + (segment[at] & (1 << micro_bits) - 1)
        entries = int.from_bytes(segment[at + 1 : at + 4], "little")
        at += 4
        for entry in range(4):
            upper, lower = entries >> 6 * entry + 3 & 7, entries >> 6 * entry & 7
            if upper == lower:
                continue
            u, v = slots[8 * block + upper], slots[8 * block + lower]
            mantissa = (u & low) << bits // 2 | v & low
            magnitude = (1 + mantissa / (1 << bits)) * 2.0**exponent
            row[8 * block + upper] = -magnitude if u & sign else magnitude
            row[8 * block + lower] = 0.0
    return row, at


@pytest.mark.parametrize("name", DISTINCT)
@settings(max_examples=5)
@given(SHAPES, st.integers(0, 1 << 32))
def test_integers_mean_what_the_bytes_say(name, shape, seed):
    check_meaning(name, shape, seed)


@pytest.mark.parametrize("name", [name for name in WEIGHT_FORMATS if name not in DISTINCT])
def test_the_other_formats_mean_what_their_bytes_say(name):
    weight = check_meaning(name, (10, 140), 1)
    assert_same(unpack(pack([weight]), name, 10, 140)[0], weight)


def check_meaning(name: str, shape: tuple[int, int], seed: int) -> QuantizedWeight:
    weight = random_weight(name, *shape, seed)
    expected = slow_decode(pack([weight]), *shape)
    values, scale = integers(weight)
    factors = np.repeat(scale.T.astype(np.float64), weight.row.group, axis=1)[:, : shape[1]]
    assert values.dtype == np.int32
    np.testing.assert_array_equal(values * factors, expected)
    np.testing.assert_array_equal(dequantize(weight), expected.astype(np.float32))
    return weight


def test_figure_3_of_the_paper():
    """2.99 and -3.50 are e1m2 codes 0110b and 1111b: Upper 01, Lower 00; Upper 11, Lower 11."""
    weight = empty("ms2", 8, 1)
    weight.pairs[0, 0, :2] = (0, 2), (3, 6)
    weight.relative_exponent[0, 0] = 1  # the figure's exponents are reduced by Isf already
    weight.slots[[0, 2, 3, 6], 0] = 0b01, 0b00, 0b11, 0b11
    weight.slots[7, 0] = 0b11
    assert dequantize(weight)[:, 0].tolist() == [3.0, 0, 0, -3.5, 0, 0, 0, -1]
    assert_same(unpack(pack([weight]), "ms2", 8, 1)[0], weight)
    # Header e = 0; slots c7..c0 = 11 11 00 11 00 00 00 01; Isf 0; micro-block 0 flagged;
    # MXScale 1 = level-1 exponent 1, microexponent 0; (3,6) (0,2) = 011110b, 000010b.
    header, slots, metadata = [3, 0, 7, 0], [0b11000001, 0b11110000], [0, 1, 1 << 1]
    permutation = [0b10_000010, 0b0000_0111, 0]
    assert list(pack([weight])[12:]) == header + slots + metadata + permutation


@pytest.mark.parametrize("name", ["ms2", "ms4"])
def test_every_exponent_of_the_mxscale_byte(name):
    """7 + 1 bits at 2 bits, 5 + 3 at 4 bits (MicroScopiQ A1); more is an error, not a wrap."""
    _, high = outlier_exponent_range(WEIGHT_FORMATS[name].bits)
    assert high == {"ms2": 64, "ms4": 22}[name]
    weight = empty(name, MICRO_BLOCK, high + 1)
    weight.relative_exponent[0] = np.arange(high + 1)
    weight.pairs[0, :, 0] = 0, 1
    assert_same(unpack(pack([weight]), name, MICRO_BLOCK, high + 1)[0], weight)
    weight.relative_exponent[0, 3] = high + 1
    with pytest.raises(InputError, match=rf"outlier exponent {high + 1} .* holds 0 to {high}"):
        pack([weight])


def test_bits_per_weight():
    """bb + 8/128 (Isf) + 1/8 (identifier) + 32 bits per flagged micro-block + header."""
    count = MACRO_BLOCK * GROUP_SIZE
    weight = empty("ms2", MACRO_BLOCK, GROUP_SIZE)
    plain = 2 + 8 / 128 + 1 / 8 + 8 * (12 + 4) / count
    assert bits_per_weight(pack([weight]), count) == plain
    weight.relative_exponent[0, :16] = 2
    assert bits_per_weight(pack([weight]), count) == plain + 16 * 32 / count
    for name, bits in (("int4", 4), ("int8", 8)):
        segment = pack([empty(name, MACRO_BLOCK, GROUP_SIZE)])
        assert bits_per_weight(segment, count) == bits + 16 / 128 + 8 * (12 + 4) / count


def test_panels_are_in_the_order_the_machine_asks_for():
    weight = empty("int8", MACRO_BLOCK + 1, GROUP_SIZE + 2)
    segment = pack([weight, weight])
    offsets = struct.unpack_from("<9I", segment, 4)
    sizes = [struct.unpack_from("<BBB", segment, offset)[1:] for offset in offsets[:-1]]
    assert struct.unpack_from("<I", segment)[0] == 8 and offsets[-1] == len(segment)
    assert sizes == [(127, 127), (1, 127), (127, 0), (1, 0)] * 2
    assert blocks(0, 8) == 0 and blocks(8, 8) == 1 and blocks(9, 8) == 2


def test_wrong_shape_or_format_is_refused():
    segment = pack([empty("int4", 10, 20)])
    with pytest.raises(InputError, match=r"panel of 20x10 int4; expected \(20, 11\) int4"):
        unpack(segment, "int4", 11, 20)
    with pytest.raises(InputError, match=r"panel of 20x10 int4; expected \(20, 10\) int8"):
        unpack(segment, "int8", 10, 20)
    with pytest.raises(InputError, match=r"weight segment has 1 panels; \(10, 200\) has 2"):
        unpack(segment, "int4", 10, 200)


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_segments_are_refused(case):
    bad = MALFORMED[case]
    segment = bad.segment()
    name, out, inputs = {
        int4_segment: ("int4", 10, 20), ms4_segment: ("ms4", 8, 8), fineq_segment: ("fineq", 8, 6)
    }[bad.segment]  # fmt: skip
    assert pack(unpack(bytes(segment), name, out, inputs)) == segment
    bad.change(segment)
    with pytest.raises(InputError, match=bad.python):
        unpack(bytes(segment), name, out, inputs)


def test_segments_without_weights_are_refused():
    with pytest.raises(InputError, match="weight segment of 0 bytes has no weights to unpack"):
        unpack(b"", "int4", 10, 20)
    shapes = shape_only(panels(bytes(int4_segment())), np.zeros(2, int))
    with pytest.raises(InputError, match=r"weight segment of \d+ bytes has no weights to unpack"):
        unpack(shapes, "int4", 10, 20)


def test_base_exponent_is_the_least_of_the_panel():
    """And 0 where the format has none: the header's fourth byte, signed, after 12 of directory."""
    weight = empty("ms2", 8, 3)
    weight.isf[0] = -7, -9, -8
    assert pack([weight])[12 + 3] == 256 - 9
    assert [pack([empty(name, 8, 3)])[12 + 3] for name in ("int4", "int8", "fineq")] == [0, 0, 0]


def test_scales_and_factors_that_mean_nothing_are_refused():
    weight = random_weight("nvfp4", 10, 40, 1)
    segment = bytearray(pack([weight, weight]))
    start = int.from_bytes(segment[8:12], "little")  # the second panel: 16 rows of 8 bytes
    segment[start + 4 + 128 : start + 4 + 132] = np.float32(3).tobytes()
    with pytest.raises(InputError, match=r"channel 0, input channel 16: a factor of 3.0; allowed"):
        unpack(bytes(segment), "nvfp4", 10, 40)
    weight.scale[1, 7] = 127
    with pytest.raises(InputError, match="channel 7, group 1: a scale of 127 in nvfp4; allowed: 0"):
        pack([weight])
    weight = empty("mxfp4", 140, 40)
    weight.scale[1, 130] = 1
    with pytest.raises(InputError, match="channel 130, group 1: a scale of 1 in mxfp4; allowed: b"):
        pack([weight])
