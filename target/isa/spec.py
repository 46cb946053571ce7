"""Mechanism of the ISA: operand kinds, encoding, decoding and printing of instructions."""

import dataclasses
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import IsaError

LOOP_DEPTH = 8
"""Nesting levels of hardware loops; an affine operand has one stride for each."""
EXTENT_REGISTERS = 16
SEMAPHORES = 64


class Unit(IntEnum):
    """Units with a queue of their own; CONTROL is the sequencer itself."""

    CONTROL = 0
    DMA_IN = 1
    DMA_OUT = 2
    WLOAD = 3
    RECON = 4
    ARRAY = 5
    VECTOR = 6


class Mem(IntEnum):
    """On-chip memories that an instruction can name."""

    SPAD = 0
    WBUF = 1
    ACC = 2
    OBUF = 3


@dataclass(frozen=True)
class Affine:
    """A value that follows the hardware loops.

    ``base + sum(strides[l] * counter[l]) + slot_step * ((sum(turns[l] * counter[l])) % slots)``

    The last term walks a ring of buffers (double buffering); ``slots`` of 0 or 1 has no ring.
    """

    base: int = 0
    strides: tuple[int, ...] = (0,) * LOOP_DEPTH
    turns: tuple[int, ...] = (0,) * LOOP_DEPTH
    slots: int = 0
    slot_step: int = 0

    FORMAT: ClassVar[str] = f"<q{LOOP_DEPTH}i{LOOP_DEPTH}BBxI"

    def at(self, counters: tuple[int, ...]) -> int:
        """Return the value for loop counters, outermost first."""
        value = self.base + sum(s * c for s, c in zip(self.strides, counters, strict=False))
        if self.slots > 1:
            turn = sum(t * c for t, c in zip(self.turns, counters, strict=False))
            value += self.slot_step * (turn % self.slots)
        return value

    def __add__(self, offset: int) -> "Affine":
        return dataclasses.replace(self, base=self.base + offset)

    def __str__(self) -> str:
        parts = [f"{self.base:#x}" if abs(self.base) > 9 else str(self.base)] if self.base else []
        parts += [
            _times(stride, f"i{level}") for level, stride in enumerate(self.strides) if stride
        ]
        if self.slots > 1:
            turns = [_times(turn, f"i{level}") for level, turn in enumerate(self.turns) if turn]
            turn = "+".join(turns) or "0"
            turn = f"({turn})" if len(turns) > 1 else turn
            step = f"{self.slot_step:#x}" if self.slot_step > 9 else str(self.slot_step)
            ring = f"({turn}%{self.slots})"
            parts.append(ring if self.slot_step == 1 else f"{step}*{ring}")
        return "+".join(parts) or "0"


def _times(factor: int, name: str) -> str:
    return name if factor == 1 else f"{factor}*{name}"


@dataclass(frozen=True)
class Kind:
    """How one operand is stored: its struct format, its C++ type and the reader's name."""

    name: str
    format: str
    ctype: str


U8 = Kind("u8", "<B", "uint8_t")
U16 = Kind("u16", "<H", "uint16_t")
U32 = Kind("u32", "<I", "uint32_t")
I32 = Kind("i32", "<i", "int32_t")
I64 = Kind("i64", "<q", "int64_t")
F32 = Kind("f32", "<f", "float")
AFFINE = Kind("affine", Affine.FORMAT, "Affine")
EXTENT = Kind("extent", "<B", "uint8_t")
MEM = Kind("mem", "<B", "uint8_t")
UNIT = Kind("unit", "<B", "uint8_t")
ARG = Kind("argument", "<B", "uint8_t")
Allowed = range | tuple[int, ...]
_ALLOWED: dict[Kind, Allowed] = {
    EXTENT: range(EXTENT_REGISTERS),
    MEM: range(len(Mem)),
    UNIT: range(Unit.DMA_IN, len(Unit)),  # the sequencer has no queue
}

HEADER = struct.Struct("<HH")
"""Every instruction starts with its opcode and its size in bytes, padded to 4."""


def operand(
    kind: Kind,
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    allowed: Allowed | None = None,
    least: int | None = None,
) -> Any:
    """Declare one operand of an instruction.

    Parameters
    ----------
    allowed : range or tuple of int, optional
        What both loaders accept, of all that the kind holds.
    least : int, optional
        The same, for a smallest value.
    """
    if least is not None:
        allowed = range(least, 1 << 8 * struct.calcsize(kind.format))
    return field(default=default, metadata={"kind": kind, "doc": doc, "allowed": allowed})


class Instruction:
    """Base of all instructions; subclasses are frozen dataclasses of operands.

    Class attributes: ``opcode``, ``mnemonic``, ``unit`` (None: named by an operand), ``reads``
    and ``writes``: memories, ``"plane"``, ``"dram"``, or ``"mem"`` for the one that `mem` names.
    """

    opcode: ClassVar[int]
    mnemonic: ClassVar[str]
    unit: ClassVar[Unit | None]
    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]

    if TYPE_CHECKING:  # `instruction` makes a dataclass of each subclass's operands

        def __init__(self, *args: Any, **operands: Any): ...

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def operands(cls) -> list[tuple[str, Kind, str]]:
        """Return (name, kind, doc) of each operand in encoding order."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # subclasses are dataclasses
        return [(f.name, f.metadata["kind"], f.metadata["doc"]) for f in fields]

    @classmethod
    def constraints(cls) -> dict[str, Allowed]:
        """Return what is allowed by operand, where that is less than its kind holds."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return {f.name: f.metadata["allowed"] for f in fields if f.metadata["allowed"] is not None}

    def encode(self) -> bytes:
        """Return the instruction's bytes."""
        body, constraints = b"", self.constraints()
        for name, kind, _ in self.operands():
            value, where = getattr(self, name), f"{self.mnemonic}.{name}"
            body += _pack(kind, value, where)
            if name in constraints and value not in constraints[name]:
                allowed = allowed_text(kind, constraints[name])
                raise IsaError(f"{where}: {int(value)}; allowed: {allowed}")
        body += b"\0" * (-len(body) % 4)
        return HEADER.pack(self.opcode, HEADER.size + len(body)) + body

    def __str__(self) -> str:
        parts = [f"{name}={_show(kind, getattr(self, name))}" for name, kind, _ in self.operands()]
        return f"{self.mnemonic} {', '.join(parts)}".rstrip()


REGISTRY: dict[int, type[Instruction]] = {}


def instruction(opcode, mnemonic, unit, reads=(), writes=()):
    """Register a dataclass of operands as an instruction."""

    def register(cls):
        cls = dataclass(frozen=True)(cls)
        cls.opcode, cls.mnemonic, cls.unit = opcode, mnemonic, unit
        cls.reads, cls.writes = tuple(reads), tuple(writes)
        if opcode in REGISTRY:
            raise IsaError(f"opcode {opcode:#x} is declared twice: {mnemonic}")
        REGISTRY[opcode] = cls
        return cls

    return register


def decode(code: bytes, offset: int) -> tuple[Instruction, int]:
    """Return the instruction at a byte offset and the offset after it.

    Raises
    ------
    IsaError
        For an unknown opcode, a wrong size, or bytes that no encoder writes.
    """
    if offset + HEADER.size > len(code):
        raise IsaError(f"truncated instruction at {offset:#x}: {len(code) - offset} bytes left")
    opcode, size = HEADER.unpack_from(code, offset)
    cls = REGISTRY.get(opcode)
    if cls is None:
        raise IsaError(f"unknown opcode {opcode:#x} at {offset:#x}")
    end = offset + size
    if size != encoded_bytes(cls) or end > len(code):
        raise IsaError(
            f"{cls.mnemonic} at {offset:#x} says {size} bytes; it has {encoded_bytes(cls)}"
        )
    values, position = {}, offset + HEADER.size
    for name, kind, _ in cls.operands():
        values[name] = _unpack(kind, code, position)
        position += struct.calcsize(kind.format)
        if kind is F32 and values[name] != values[name]:  # its bits don't survive
            raise IsaError(f"{cls.mnemonic} at {offset:#x}: {name} is NaN; allowed: numbers")
    found = cls(**values)
    try:
        same = found.encode() == code[offset:end]
    except IsaError as error:
        raise IsaError(f"at {offset:#x}: {error}") from None
    if not same:
        raise IsaError(f"{cls.mnemonic} at {offset:#x}: padding isn't zero")
    return found, end


def encoded_bytes(cls: type[Instruction]) -> int:
    """Return the size of every instruction of a class, header and padding included."""
    body = sum(struct.calcsize(kind.format) for _, kind, _ in cls.operands())
    return HEADER.size + body + (-body % 4)


def _pack(kind: Kind, value: Any, where: str) -> bytes:
    try:
        if kind is AFFINE:
            return struct.pack(
                kind.format, value.base, *value.strides, *value.turns, value.slots, value.slot_step
            )
        if kind in _ALLOWED and value not in _ALLOWED[kind]:
            allowed = allowed_text(kind, _ALLOWED[kind])
            raise IsaError(f"{where}: {kind.name} {int(value)}; allowed: {allowed}")
        return struct.pack(kind.format, value)
    except struct.error as error:
        raise IsaError(f"{where}: {value} doesn't fit {kind.name} ({error})") from None


def allowed_text(kind: Kind, values: Allowed) -> str:
    """Return what is allowed of a kind, as messages and docs say it."""
    if isinstance(values, range):
        if values.stop == 1 << 8 * struct.calcsize(kind.format):
            return f"at least {values.start}"
        return f"{values[0]}..{values[-1]}"
    return ", ".join(map(str, values))


def _unpack(kind: Kind, code: bytes, position: int) -> Any:
    values = struct.unpack_from(kind.format, code, position)
    if kind is AFFINE:
        split = 1 + LOOP_DEPTH
        return Affine(
            values[0],
            values[1:split],
            values[split : split + LOOP_DEPTH],
            values[-2],
            values[-1],
        )
    return values[0]


def _show(kind: Kind, value: Any) -> str:
    if kind is AFFINE:
        return f"[{value}]"
    if kind is EXTENT:
        return f"e{value}"
    if kind is MEM:
        return Mem(value).name.lower() if value in Mem._value2member_map_ else str(value)
    if kind is UNIT:
        return Unit(value).name.lower() if value in Unit._value2member_map_ else str(value)
    return repr(value)
