"""The array's part of the NumPy reference: panels, weight planes, products and the ReCoN merge.

Written from MicroScopiQ (ISCA 2025): sign-magnitude slots, blind multiplication of every slot,
and the merge of Upper, Lower and hidden bit, with guard bits so that nothing is truncated.
"""

import struct
from dataclasses import dataclass, field, replace

import numpy as np

from ...target.arch import Arch
from ...target.errors import SimError
from ...target.formats import (
    BY_CODE,
    MAX_OUTLIERS,
    MICRO_BLOCK,
    OUTLIER_EXPONENT,
    Codes,
    ScaleKind,
    WeightFormat,
)

HEADER_BYTES = 4
VICTIM = 0b1000
"""The code of 4 bits that two's complement has no use for."""
GROUP_ROWS = 24
"""Panel rows whose clusters of one column make 7 bytes (FineQ)."""
MAX_SHIFT = 24
"""Largest alignment over the base exponent: a weight shifted further has more than 32 bits."""


@dataclass(frozen=True)
class Part:
    """The piece of a panel that `preload` and `recon.config` have to agree on."""

    src: int
    format: int
    row0: int
    col0: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Merge:
    """One outlier: the panel columns of its halves and ``E - Isf``."""

    upper: int
    lower: int
    relative: int


@dataclass
class Panel:
    """A decoded panel header, with the bytes from its start to the end of wbuf."""

    data: np.ndarray
    row: WeightFormat
    rows: int
    cols: int
    base: int

    @property
    def pitch(self) -> int:
        """Bytes of the dense slots of one row."""
        return -(-self.cols // 8) * self.row.bits

    @property
    def slot_bytes(self) -> int:
        """Bytes of all slots, or of all groups of clusters."""
        if self.row.codes is not Codes.CLUSTERS:
            return self.rows * self.pitch
        return self.cols * sum(self.group_bytes(first) for first in range(0, self.rows, GROUP_ROWS))

    def group_bytes(self, first: int) -> int:
        """Return the bytes of one column's clusters from panel row ``first``, up to 24 rows."""
        rows = min(GROUP_ROWS, self.rows - first)
        bits = 6 * -(-rows // 3) + 2 * -(-rows // 6)
        return -(-bits // 8)

    def clusters(self, k: int) -> list[int]:
        """Return the integers of panel row ``k``, each decoded by itself (FineQ)."""
        first = k // GROUP_ROWS * GROUP_ROWS
        rows, size = min(GROUP_ROWS, self.rows - first), self.group_bytes(first)
        start = HEADER_BYTES + first // GROUP_ROWS * 7 * self.cols
        values = []
        for column in range(self.cols):
            group = int.from_bytes(self.take(start + column * size, size), "little")
            cluster, place = divmod(k - first, 3)
            payload = group >> 6 * cluster & 63
            pattern = group >> (6 * -(-rows // 3) + 2 * (cluster // 2)) & 3
            width = 3 if pattern else 2
            stored = [at for at in range(3) if at + 1 != pattern]
            code = 0
            if place in stored:
                code = payload >> width * stored.index(place) & (1 << width) - 1
            magnitude = code & (1 << width - 1) - 1
            values.append(-magnitude if code >> width - 1 else magnitude)
        return values

    def slots(self, k: int) -> list[int]:
        """Return the slot codes of panel row ``k``, low bits first."""
        start = HEADER_BYTES + k * self.pitch
        line = int.from_bytes(self.take(start, self.pitch), "little")
        mask = (1 << self.row.bits) - 1
        return [line >> (self.row.bits * column) & mask for column in range(self.cols)]

    def pairs(self, k: int) -> list[int]:
        """Return the integers of panel row ``k``, each decoded beside its neighbour (OliVe)."""
        other = k + 1 if k % 2 == 0 else k - 1
        beside = self.slots(other) if other < self.rows else [0] * self.cols
        values = []
        for code, neighbour in zip(self.slots(k), beside, strict=True):
            sign, exponent, mantissa = -1 if code >> 3 else 1, code >> 1 & 3, code & 1
            if code == VICTIM:
                values.append(0)
            elif neighbour == VICTIM:
                normal = exponent or mantissa
                values.append(sign * int(2.0**exponent * (1 + mantissa / 2) * 8) if normal else 0)
            else:
                values.append(code - 16 if code >> 3 else code)
        return values

    def column_scales(self, cols: int) -> np.ndarray:
        """Return float32 factors of the first columns, of formats whose columns have scales."""
        start = HEADER_BYTES + self.slot_bytes
        unit = np.float32(2.0**-self.row.fraction_bits)
        if self.row.scale is ScaleKind.COLUMN_FP16:
            return np.frombuffer(self.take(start, 2 * cols), "<f2").astype(np.float32) * unit
        if self.row.scale is ScaleKind.COLUMN_E8M0:
            stored = self.take(start, cols)
            wrong = [byte for byte in stored if not self.row.fraction_bits < byte < 255]
            if wrong:
                raise SimError(f"E8M0 scale {wrong[0]}; below 255, its power a normal number")
            return np.array([2.0 ** (byte - 127) for byte in stored], np.float32) * unit
        (factor,) = struct.unpack("<f", self.take(start, 4))
        stored = self.take(start + 4, cols)
        if max(stored) > 126:
            raise SimError(f"E4M3 scale {max(stored)}; allowed: 0 to 126")
        scales = []
        for byte in stored:
            exponent, mantissa = divmod(byte, 8)
            hidden = 8 if exponent else 0
            scales.append((hidden + mantissa) * 2.0 ** (max(exponent, 1) - 10))
        return np.array(scales, np.float32) * unit * np.float32(factor)

    def metadata(self) -> list[tuple[int, list[Merge]]]:
        """Return (Isf, outliers) of every row, read front to back as the hardware does."""
        micro_blocks = -(-self.cols // MICRO_BLOCK) if self.row.has_outliers else 0
        identifier_bytes = -(-micro_blocks // 8)
        position, found = HEADER_BYTES + self.rows * self.pitch, []
        for _ in range(self.rows):
            (isf,) = struct.unpack("<b", self.take(position, 1))
            identifier = int.from_bytes(self.take(position + 1, identifier_bytes), "little")
            position += 1 + identifier_bytes
            merges = []
            for block in range(micro_blocks):
                if identifier >> block & 1:
                    merges += self._micro_block(block * MICRO_BLOCK, self.take(position, 4))
                    position += 4
            found.append((isf, merges))
        return found

    def _micro_block(self, first: int, entry: bytes) -> list[Merge]:
        """Return the outliers of a flagged micro-block: MXScale byte, then 4 x 6 bits."""
        _, micro_bits = OUTLIER_EXPONENT[self.row.bits]
        (byte,) = struct.unpack("<b", entry[:1])
        relative = (byte >> micro_bits) + (byte & ((1 << micro_bits) - 1))
        permutation = int.from_bytes(entry[1:], "little")
        merges = []
        for number in range(MAX_OUTLIERS):
            upper, lower = divmod(permutation >> (6 * number) & 63, 8)
            if upper == lower:
                continue
            if max(upper, lower) + first >= self.cols:
                raise SimError(f"permutation entry ({upper}, {lower}) leaves the panel's columns")
            merges.append(Merge(first + upper, first + lower, relative))
        slots = [column for merge in merges for column in (merge.upper, merge.lower)]
        if len(set(slots)) < len(slots) or (slots and relative < 0):
            raise SimError(f"micro-block at column {first}: slots {slots}, E - Isf {relative}")
        return merges

    def take(self, start: int, count: int) -> bytes:
        """Return bytes of the panel; running over the end of wbuf is an error."""
        if start + count > len(self.data):
            raise SimError("the panel runs over the end of wbuf")
        return self.data[start : start + count].tobytes()


def read_panel(wbuf: np.ndarray, address: int, format_code: int) -> Panel:
    """Return the panel at a wbuf address; its header must name the expected format."""
    if not 0 <= address <= len(wbuf) - HEADER_BYTES:
        raise SimError(f"panel at {address:#x} is outside wbuf ({len(wbuf):#x} bytes)")
    code, rows, cols, base = struct.unpack("<BBBb", wbuf[address : address + 4].tobytes())
    if code != format_code or code not in BY_CODE:
        raise SimError(f"panel at {address:#x} has format {code}, the instruction {format_code}")
    if rows >= BY_CODE[code].group:
        raise SimError(f"a panel of {rows + 1} rows; a group has {BY_CODE[code].group}")
    return Panel(wbuf[address:], BY_CODE[code], rows + 1, cols + 1, base)


@dataclass
class Plane:
    """Weights as the PEs of one plane hold them; `row` is None for a run-time operand.

    Attributes
    ----------
    value : numpy.ndarray
        int64 ``(rows, cols)``: what each PE multiplies by.
    negative : numpy.ndarray
        bool ``(rows, cols)``: sign bit of each slot; a sign-magnitude -0 keeps it.
    inlier_shift : list of int
        ``Isf - e`` of each row.
    merges : list or None
        ``(upper, lower, E - e)`` by row, array columns; None before `recon.config`.
    own : range
        Activations of the rows of `value`, from the operand's first on.
    taken : range
        All that a product reads: these, or those of the whole panel if outliers are replayed.
    replayed : list of tuple
        Outliers' digits in rows of their own, ``(activation, array column, digit << shift)``.
    """

    value: np.ndarray
    negative: np.ndarray
    inlier_shift: list[int]
    row: WeightFormat | None = None
    part: Part | None = None
    merges: list[list[tuple[int, int, int]]] | None = None
    own: range = range(0)
    taken: range = range(0)
    replayed: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self):
        # A part of an unfolded panel may have no row of its own.
        if not self.taken:
            self.own = self.taken = range(len(self.value))


def rows_plane(rows: np.ndarray, arch: Arch) -> Plane:
    """Return the plane of an int8 operand ``(n, k)`` that was quantized at run time."""
    cols, inputs = rows.shape
    _check_array(arch, inputs, cols, 8)
    value = rows.T.astype(np.int64)
    return Plane(value, value < 0, [0] * inputs)


def panel_plane(wbuf: np.ndarray, part: Part, arch: Arch) -> Plane:
    """Return the plane that `preload` fills from a part of a panel."""
    panel = _checked_panel(wbuf, part, arch)
    bits = panel.row.bits
    wanted = range(part.row0, part.row0 + part.rows)
    if panel.row.codes in (Codes.CLUSTERS, Codes.VICTIM_PAIRS):
        line = panel.clusters if panel.row.codes is Codes.CLUSTERS else panel.pairs
        lines = [line(k)[part.col0 : part.col0 + part.cols] for k in wanted]
        value = np.array(lines, np.int64)
        return Plane(value, value < 0, [0] * part.rows, panel.row, part)
    codes = np.array([panel.slots(k)[part.col0 : part.col0 + part.cols] for k in wanted], np.int64)
    negative = (codes >> (bits - 1)).astype(bool)
    if panel.row.codes is Codes.TABLE:
        value = np.array(panel.row.values, np.int64)[codes]
        negative = value < 0
    else:
        value = DECODE[panel.row.codes](codes, negative, bits)
    shifts = [0] * part.rows
    if panel.row.scale is ScaleKind.ROW_POW2:
        metadata = panel.metadata()
        shifts = [_shift(metadata[k][0] - panel.base, k) for k in wanted]
    return Plane(value, negative, shifts, panel.row, part)


def replay_plane(wbuf: np.ndarray, part: Part, arch: Arch) -> Plane | None:
    """Return the plane that `preload.replay` fills; None if the unfolded panel has no such rows."""
    if not arch.replay_columns:
        raise SimError(f"{arch.name} replays nothing (replay_columns = 0)")
    panel = read_panel(wbuf, part.src, part.format)
    _check_array(arch, part.rows, part.cols, panel.row.bits)
    whole = replace(part, row0=0, rows=panel.rows)
    _check_inside(panel, whole)
    if not panel.row.has_outliers or part.row0 < 0:
        raise SimError(f"preload.replay of row {part.row0} of format {panel.row.name}")
    digits = _unfolded_digits(panel, whole, arch.replay_columns)
    rows = range(part.row0, min(part.row0 + part.rows, panel.rows + len(digits)))
    if not rows:
        return None
    found = [digit for row in rows if row >= panel.rows for digit in digits[row - panel.rows]]
    own = range(part.row0, min(rows.stop, panel.rows))
    value = np.zeros((len(own), part.cols), np.int64)
    metadata, shifts = panel.metadata(), []
    for at, k in enumerate(own):
        codes = np.array(panel.slots(k), np.int64)
        for merge in metadata[k][1]:
            codes[[merge.upper, merge.lower]] = 0
        codes = codes[part.col0 : part.col0 + part.cols]
        negative = (codes >> (panel.row.bits - 1)).astype(bool)
        value[at] = DECODE[panel.row.codes](codes, negative, panel.row.bits)
        shifts.append(_shift(metadata[k][0] - panel.base, k))
    taken = range(panel.rows) if rows.stop > panel.rows else own
    merges: list[list] = [[] for _ in own]
    return Plane(value, value < 0, shifts, panel.row, part, merges, own, taken, found)


def _unfolded_digits(panel: Panel, part: Part, strip: int) -> list[list[tuple[int, int, int]]]:
    """Return (input, column, value) of each row behind the panel's; a value is a digit, shifted.

    The lists of each ``strip`` columns stand beside each other.
    """
    bits, guard = panel.row.bits, panel.row.guard_bits
    half, sign = guard // 2, 1 << (bits - 1)
    largest = (1 << guard) + (sign - 1 << guard - half) + (sign - 1 << guard - 2 * half)
    count = -(-(largest.bit_length() + 1) // bits)
    rows: list[list[tuple[int, int, int]]] = []
    metadata, slots = panel.metadata(), [panel.slots(k) for k in range(panel.rows)]
    for first in range(part.col0, part.col0 + part.cols, strip):
        at = 0
        for k, (isf, merges) in enumerate(metadata):
            mine = [merge for merge in merges if first <= merge.upper < first + strip]
            mine = [merge for merge in mine if merge.upper < part.col0 + part.cols]
            for relative in dict.fromkeys(merge.relative for merge in mine):
                rows += [[] for _ in range(at + count - len(rows))]
                for merge in (merge for merge in mine if merge.relative == relative):
                    upper, lower = slots[k][merge.upper], slots[k][merge.lower]
                    weight = -1 << guard if upper & sign else 1 << guard
                    for code, place in ((upper, guard - half), (lower, guard - 2 * half)):
                        weight += (-1 if code & sign else 1) * (code & sign - 1) << place
                    shift = _shift(isf + relative - panel.base, k)
                    for digit in range(count):
                        top = digit + 1 == count
                        part_of = weight >> digit * bits
                        part_of = part_of if top else part_of % (1 << bits)
                        value = part_of << digit * bits + shift
                        rows[at + digit].append((k, merge.upper - part.col0, value))
                at += count
    return rows


def _twos_complement(codes: np.ndarray, negative: np.ndarray, bits: int) -> np.ndarray:
    return np.where(negative, codes - (1 << bits), codes)


def _sign_magnitude(codes: np.ndarray, negative: np.ndarray, bits: int) -> np.ndarray:
    magnitude = codes & ((1 << (bits - 1)) - 1)
    return np.where(negative, -magnitude, magnitude)


DECODE = {Codes.TWOS_COMPLEMENT: _twos_complement, Codes.SIGN_MAGNITUDE: _sign_magnitude}


def configure(plane: Plane | None, wbuf: np.ndarray, part: Part, arch: Arch) -> None:
    """Give a plane the merges of its panel part."""
    if plane is None or plane.part != part:
        raise SimError("recon.config names another panel part than the plane's preload")
    if not arch.recon_units:
        raise SimError(f"{arch.name} has no ReCoN (recon_units = 0)")
    panel = _checked_panel(wbuf, part, arch)
    if not panel.row.has_outliers:
        raise SimError(f"recon.config of format {panel.row.name}, which has no outliers")
    metadata = panel.metadata()[part.row0 : part.row0 + part.rows]
    plane.merges = []
    for k, (isf, merges) in enumerate(metadata):
        row = []
        for merge in merges:
            upper, lower = merge.upper - part.col0, merge.lower - part.col0
            if 0 <= upper < part.cols:  # micro-blocks are whole: so is its Lower half
                shift = _shift(isf + merge.relative - panel.base, part.row0 + k)
                row.append((upper, lower, shift))
        plane.merges.append(row)


def multiply(plane: Plane, activations: np.ndarray) -> np.ndarray:
    """Return int64 ``(m, cols)``: partial sums of int8 activation rows ``(m, taken)``."""
    if plane.row is not None and plane.row.has_outliers and plane.merges is None:
        raise SimError("the plane's format has outliers; recon.config must come before matmul")
    guard = plane.row.guard_bits if plane.row else 0
    psum = np.zeros((len(activations), plane.value.shape[1]), np.int64)
    for k, weights in enumerate(plane.value):
        iact = activations[:, plane.own[k] - plane.taken.start].astype(np.int64)
        result = iact[:, None] * weights  # every PE multiplies its slot blindly
        contribution = (result << guard) << plane.inlier_shift[k]
        for upper, lower, shift in plane.merges[k] if plane.merges else ():
            half = guard // 2
            hidden = -(iact << guard) if plane.negative[k, upper] else iact << guard
            merged = hidden + (result[:, upper] << (guard - half))
            merged += result[:, lower] << (guard - 2 * half)
            contribution[:, upper] = merged << shift
            contribution[:, lower] = 0  # the pruned slot's column goes on with its iAcc alone
        psum += contribution
    for k, column, value in plane.replayed:
        psum[:, column] += activations[:, k].astype(np.int64) * value
    return psum


def _checked_panel(wbuf: np.ndarray, part: Part, arch: Arch) -> Panel:
    panel = read_panel(wbuf, part.src, part.format)
    _check_array(arch, part.rows, part.cols, panel.row.pe_bits)
    _check_inside(panel, part)
    return panel


def _check_inside(panel: Panel, part: Part) -> None:
    row_end, col_end = part.row0 + part.rows, part.col0 + part.cols
    if part.row0 < 0 or part.col0 < 0 or row_end > panel.rows or col_end > panel.cols:
        raise SimError(
            f"rows {part.row0}..{row_end - 1}, columns {part.col0}..{col_end - 1} of a panel of "
            f"{panel.rows}x{panel.cols}"
        )
    cut = part.col0 % MICRO_BLOCK or (part.cols % MICRO_BLOCK and col_end != panel.cols)
    if panel.row.has_outliers and cut:
        raise SimError(
            f"columns {part.col0}..{col_end - 1} cut a micro-block of {MICRO_BLOCK}: Upper and "
            "Lower halves could lie in different parts"
        )


def _check_array(arch: Arch, rows: int, cols: int, bits: int) -> None:
    if bits > arch.pe_weight_bits and not arch.multi_precision:
        raise SimError(f"weights of {bits} bits; a PE multiplies {arch.pe_weight_bits}")
    if rows > arch.array_rows or cols > arch.columns(bits):
        raise SimError(
            f"{rows}x{cols} weights of {bits} bits; the array holds "
            f"{arch.array_rows}x{arch.columns(bits)}"
        )


def _shift(shift: int, k: int) -> int:
    if not 0 <= shift <= MAX_SHIFT:
        raise SimError(f"panel row {k}: exponent {shift} over the base; allowed 0 to {MAX_SHIFT}")
    return shift
