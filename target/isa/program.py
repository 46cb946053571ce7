"""A program: functions of instructions, their arguments and weights, and the machine it is for.

The saved form is versioned, checksummed and read by Python and C++ alike; loading it executes
nothing. All numbers are little-endian.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..arch import Arch, integer_keys
from ..errors import IsaError
from ..segment import check_segment, is_shape_only, panel_bytes
from . import instructions as _registered  # noqa: F401  (a program is nothing without them)
from . import sizes as of_sizes
from .sizes import NO_SIZES, Sizes
from .spec import ARG, Instruction, Mem, Unit, decode

MAGIC = b"MSCOPIQ\0"
VERSION = 8
DTYPES = {
    "float32": (1, 4),
    "int8": (2, 1),
    "uint8": (3, 1),
    "int16": (4, 2),
    "int32": (5, 4),
    "int64": (6, 8),
    "bool": (7, 1),
}
"""Argument dtypes: code in the file and bytes of an element."""


@dataclass(frozen=True)
class Argument:
    """One tensor argument of a function; outputs come last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_output: bool = False


@dataclass(frozen=True)
class Part:
    """Instructions of one operator in a function of several: up to where the next part starts.

    Attributes
    ----------
    first : int
        Index of its first instruction, outside of loops; 0 of the first part.
    """

    name: str
    layer: str
    macs: int
    first: int


@dataclass(frozen=True)
class Buffer:
    """A place in an on-chip memory that a function uses: for plans and reports, not saved.

    Attributes
    ----------
    base, size : int
        Bytes.
    writers, readers : frozenset of Unit
        Who fills it and who takes from it.
    argument : int or None
        Whose tiles it holds, of an argument that may lie on the chip as a whole.
    kept : bool
        It does, and this is all of it.
    """

    name: str
    mem: Mem
    base: int
    size: int
    writers: frozenset[Unit]
    readers: frozenset[Unit]
    argument: int | None = None
    kept: bool = False


def size_of(argument: Argument) -> int:
    """Return the bytes of a tensor."""
    return math.prod(argument.shape) * DTYPES[argument.dtype][1]


@dataclass(frozen=True)
class Function:
    """Instructions of one accelerated operator, or of several that follow each other.

    Attributes
    ----------
    layer : str
        Where the operator comes from in the model, for listings and reports.
    weights : bytes
        Packed weight segment (see `target.packing`), empty for functions without weights; or the
        shapes alone (see `target.segment`), for programs that are only timed.
    macs : int
        Multiply-accumulates of the operator: B*M*N*K without padding.
    notes : dict of int to str
        Comment for the instruction with that index: which tile a block belongs to.
    parts : tuple of Part
        The operators, none of a function of one.
    buffers : tuple of Buffer
        What was placed on the chip; empty once the function was saved.
    sizes : Sizes
        What a call's arguments tell by their shapes, and what follows from it; all else is as it is
        for the largest sizes.
    """

    name: str
    layer: str
    arguments: tuple[Argument, ...]
    code: tuple[Instruction, ...]
    weights: bytes = b""
    macs: int = 0
    notes: dict[int, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    buffers: tuple[Buffer, ...] = field(default=(), compare=False, repr=False)
    sizes: Sizes = NO_SIZES

    def at(self, sizes: Mapping[str, int]) -> "Function":
        """Return the function for sizes by name; one without sizes is the same for all."""
        if not self.sizes:
            return self
        values = self.sizes.values(sizes)
        shapes = self.sizes.shapes([arg.shape for arg in self.arguments], values)
        arguments = tuple(
            replace(arg, shape=shape) for arg, shape in zip(self.arguments, shapes, strict=True)
        )
        code = self.sizes.code(self.code, values)
        return replace(self, arguments=arguments, code=code, sizes=NO_SIZES)

    @property
    def operators(self) -> Iterator[tuple[Part, tuple[Instruction, ...]]]:
        """Each operator with its instructions; of a function of one, that one."""
        parts = self.parts or (Part(self.name, self.layer, self.macs, 0),)
        ends = [part.first for part in parts[1:]] + [len(self.code)]
        for part, end in zip(parts, ends, strict=True):
            yield part, self.code[part.first : end]


@dataclass(frozen=True)
class Program:
    """Functions for one architecture, by name.

    Attributes
    ----------
    technology : str
        The architecture's technology: name, or full path of its file.
    """

    arch_name: str
    arch_hash: str
    technology: str
    arch_numbers: dict[str, int]
    functions: dict[str, Function]

    @classmethod
    def for_arch(cls, arch: Arch, functions: dict[str, Function]) -> "Program":
        return cls(arch.name, arch.hash, arch.technology, arch.numbers(), functions)

    def to_bytes(self) -> bytes:
        """Return the saved form."""
        payload = _text(self.arch_name) + _text(self.arch_hash) + _text(self.technology)
        payload += struct.pack("<I", len(self.arch_numbers))
        for name, value in self.arch_numbers.items():
            payload += _text(name) + struct.pack("<q", value)
        payload += struct.pack("<I", len(self.functions))
        payload += b"".join(_function_bytes(function) for function in self.functions.values())
        return MAGIC + struct.pack("<IIQ", VERSION, zlib.crc32(payload), len(payload)) + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> "Program":
        """Return the program in a saved form.

        Raises
        ------
        IsaError
            For a wrong magic, another version, a wrong checksum, or bytes that don't parse.
        """
        head = len(MAGIC) + struct.calcsize("<IIQ")
        if len(data) < head or data[: len(MAGIC)] != MAGIC:
            raise IsaError("not a microscopiq program: the first bytes aren't 'MSCOPIQ'")
        version, checksum, length = struct.unpack_from("<IIQ", data, len(MAGIC))
        if version != VERSION:
            raise IsaError(f"program version {version}; this build reads version {VERSION}")
        payload = data[head:]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            raise IsaError("corrupted program: the checksum doesn't match")
        reader = _Reader(payload)
        name, digest, technology = reader.text(), reader.text(), reader.text()
        numbers = {reader.text(): reader.number("<q") for _ in range(reader.count())}
        known = {f.name for f in integer_keys()}
        if missing := sorted(known - numbers.keys()):
            raise IsaError(f"program lacks architecture keys: {missing}")
        if unknown := sorted(numbers.keys() - known):
            raise IsaError(f"program has unknown architecture keys: {unknown}")
        functions: dict[str, Function] = {}
        for _ in range(reader.count()):
            function = reader.function()
            if function.name in functions:
                raise IsaError(f"two functions are named '{function.name}'")
            functions[function.name] = function
        reader.finish()
        return cls(name, digest, technology, numbers, functions)

    def listing(self, only: str | None = None) -> str:
        """Return the assembly text of all functions, or of one, or of a part of one."""
        parts = [f"; program for {self.arch_name} ({self.arch_hash})"]
        for function in self.functions.values():
            if only in (None, function.name):
                parts.append(function_listing(function))
            elif only in part_names(function):
                parts.append(function_listing(function, only))
        return "\n".join(parts) + "\n"


def part_names(function: Function) -> list[str]:
    """Return the names of a function's parts, none of one operator alone."""
    return [part.name for part in function.parts]


def part_code(function: Function, name: str) -> range:
    """Return which instructions of a function are those of a part."""
    at = part_names(function).index(name)
    ends = [part.first for part in function.parts[1:]] + [len(function.code)]
    return range(function.parts[at].first, ends[at])


def function_listing(function: Function, only: str | None = None) -> str:
    """Return the assembly text of one function: byte offset, loops indented, notes beside.

    A line before each operator of several says which one follows.

    Parameters
    ----------
    only : str, optional
        A part: the instructions of others are left out.
    """
    shown = range(len(function.code)) if only is None else part_code(function, only)
    lines = [f"\n{function.name}:  ; {function.layer}  ({function.macs:,} MACs)"]
    for index, arg in enumerate(function.arguments):
        shape = "x".join(map(str, arg.shape))
        role = "out" if arg.is_output else "in"
        lines.append(f"  ; arg{index} {arg.name}: {arg.dtype}[{shape}] {role}")
    for each in function.sizes.sizes:
        where = f"arg{each.argument}, dimension {each.dimension}"
        lines.append(f"  ; {each.name}: {each.least} to {each.most}, {each.extent} is {where}")
    if function.weights:
        kind = "shapes of " if is_shape_only(function.weights) else ""
        size = int(panel_bytes(function.weights).sum()) if kind else len(function.weights)
        lines.append(f"  ; {kind}weights: {size:,} bytes")
    starts = {part.first: part for part in function.parts}
    formulas = function.sizes.formulas()
    depth, offset = 0, 0
    for index, instruction in enumerate(function.code):
        if index in starts and index in shown:
            lines.append(f"  ; {starts[index].name}: {starts[index].layer}")
        depth -= instruction.mnemonic == "endloop"
        text = f"  {offset:05x}  {'  ' * depth}{instruction}"
        if index in function.notes:
            text = f"{text:<60} ; {function.notes[index]}"
        if index in formulas:
            text += f"  ; follows {formulas[index]}"
        if index in shown:
            lines.append(text)
        depth += instruction.mnemonic == "loop"
        offset += len(instruction.encode())
    return "\n".join(lines)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def _function_bytes(function: Function) -> bytes:
    code = b"".join(instruction.encode() for instruction in function.code)
    out = [_text(function.name), _text(function.layer), struct.pack("<Q", function.macs)]
    out.append(struct.pack("<I", len(function.arguments)))
    for arg in function.arguments:
        dtype, _ = DTYPES[arg.dtype]
        out += [_text(arg.name), struct.pack("<BBI", dtype, arg.is_output, len(arg.shape))]
        out.append(struct.pack(f"<{len(arg.shape)}q", *arg.shape))
    out += [struct.pack("<Q", len(code)), code]
    out += [struct.pack("<Q", len(function.weights)), function.weights]
    out.append(struct.pack("<I", len(function.notes)))
    for index, note in sorted(function.notes.items()):
        out += [struct.pack("<I", index), _text(note)]
    out.append(struct.pack("<I", len(function.parts)))
    for part in function.parts:
        out += [_text(part.name), _text(part.layer), struct.pack("<QI", part.macs, part.first)]
    out.append(of_sizes.to_bytes(function.sizes))
    return b"".join(out)


def _check_arguments(instruction: Instruction, count: int, at: int) -> None:
    for name, kind, _ in instruction.operands():
        if kind is ARG and (number := getattr(instruction, name)) >= count:
            raise IsaError(
                f"{instruction.mnemonic} at {at:#x}: argument {number}; the function has {count}"
            )


class _Reader:
    """Reads a payload front to back; every overrun is an IsaError."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def raw(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise IsaError(f"truncated program: {count} bytes wanted at {self.position:#x}")
        piece, self.position = self.data[self.position : end], end
        return piece

    def number(self, fmt: str) -> int:
        return struct.unpack(fmt, self.raw(struct.calcsize(fmt)))[0]

    def count(self) -> int:
        return self.number("<I")

    def text(self) -> str:
        try:
            return self.raw(self.count()).decode()
        except UnicodeDecodeError as error:
            raise IsaError(f"corrupted program: text isn't UTF-8: {error}") from None

    def argument(self) -> Argument:
        name = self.text()
        code, is_output, ndim = struct.unpack("<BBI", self.raw(6))
        dtype = next((d for d, (number, _) in DTYPES.items() if number == code), None)
        if dtype is None or ndim > 8:
            raise IsaError(f"argument '{name}': dtype code {code}, {ndim} dimensions")
        return Argument(
            name, dtype, struct.unpack(f"<{ndim}q", self.raw(8 * ndim)), bool(is_output)
        )

    def function(self) -> Function:
        name, layer, macs = self.text(), self.text(), self.number("<Q")
        arguments = tuple(self.argument() for _ in range(self.count()))
        raw = self.raw(self.number("<Q"))
        weights = self.raw(self.number("<Q"))
        check_segment(weights)
        instructions, offset = [], 0
        while offset < len(raw):
            at = offset
            instruction, offset = decode(raw, at)
            _check_arguments(instruction, len(arguments), at)
            instructions.append(instruction)
        notes: dict[int, str] = {}
        last = -1
        for _ in range(self.count()):
            index = self.count()
            if not last < index < len(instructions):
                raise IsaError(
                    f"function '{name}': note for instruction {index}; allowed: "
                    f"{last + 1} to {len(instructions) - 1}, in ascending order"
                )
            notes[index] = self.text()
            last = index
        parts = self.parts(instructions)
        sizes = of_sizes.read_sizes(self, [arg.shape for arg in arguments], instructions)
        code = tuple(instructions)
        return Function(name, layer, arguments, code, weights, macs, notes, parts, sizes=sizes)

    def parts(self, code: list[Instruction]) -> tuple[Part, ...]:
        found: list[Part] = []
        depth = at = wanted = 0
        for number in range(self.count()):
            name, layer, macs = self.text(), self.text(), self.number("<Q")
            first = self.count()
            if not wanted <= first < len(code) or (number == 0 and first):
                raise IsaError(
                    f"part {number} starts at instruction {first}; allowed: 0 of the first, then "
                    f"{wanted} to {len(code) - 1}"
                )
            for instruction in code[at:first]:
                depth += (instruction.mnemonic == "loop") - (instruction.mnemonic == "endloop")
            if depth:
                raise IsaError(
                    f"part {number} starts at instruction {first}, inside a loop; allowed: outside "
                    "of loops"
                )
            at, wanted = first, first + 1
            found.append(Part(name, layer, macs, first))
        return tuple(found)

    def finish(self) -> None:
        if self.position != len(self.data):
            raise IsaError(f"{len(self.data) - self.position} bytes after the program's end")
