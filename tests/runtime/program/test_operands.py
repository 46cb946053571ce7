"""What the ISA allows of an operand: both loaders refuse the rest, whatever wrote the bytes."""

import struct
import zlib

import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import IsaError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import MAGIC, VERSION, Argument, Function, Program
from microscopiq.target.isa.spec import AFFINE, HEADER, REGISTRY, UNIT, Affine, allowed_text

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY = load_arch("tiny-4x4")
HEAD = len(MAGIC) + struct.calcsize("<IIQ")
CONSTRAINTS = [
    (cls, name, kind, cls.constraints()[name])
    for cls in REGISTRY.values()
    for name, kind, _ in cls.operands()
    if name in cls.constraints()
]


def legal(cls):
    """Return an instruction with the least of everything that is allowed."""
    allowed = cls.constraints()
    least = {AFFINE: Affine(), UNIT: 1}
    return cls(
        **{name: allowed.get(name, [least.get(kind, 0)])[0] for name, kind, _ in cls.operands()}
    )


def changed(cls, name: str, value: int) -> bytes:
    """Return a program with an instruction whose operand was changed to a value."""
    instruction = legal(cls)
    code = [instruction, *([isa.EndLoop()] if cls is isa.Loop else []), isa.End()]
    argument = Argument("y", "int8", (4,), True)
    blob = Program.for_arch(TINY, {"f": Function("f", "", (argument,), tuple(code))}).to_bytes()
    payload, place = bytearray(blob[HEAD:]), blob.index(instruction.encode()) - HEAD + HEADER.size
    for other, kind, _ in cls.operands():
        if other == name:
            struct.pack_into(kind.format, payload, place, value)
        place += struct.calcsize(kind.format)
    head = struct.pack("<IIQ", VERSION, zlib.crc32(payload), len(payload))
    return MAGIC + head + bytes(payload)


def beyond(kind, allowed) -> list[int]:
    """Return the neighbours of what is allowed, as far as the bytes hold them."""
    values = {near for value in (allowed[0], allowed[-1]) for near in (value - 1, value + 1)}
    most = 1 << 8 * struct.calcsize(kind.format)
    return [value for value in sorted(values) if value not in allowed and 0 <= value < most]


def test_some_operands_are_constrained():
    assert {cls.mnemonic for cls, *_ in CONSTRAINTS} >= {"loop", "sem", "dma.load", "quant"}


@pytest.mark.parametrize(
    ("cls", "name", "kind", "allowed"),
    CONSTRAINTS,
    ids=[f"{cls.mnemonic}-{name}" for cls, name, *_ in CONSTRAINTS],
)
def test_both_loaders_refuse_what_the_isa_does(cls, name, kind, allowed):
    for value in (allowed[0], allowed[-1]):
        if cls is isa.Loop and value > 1:
            continue  # so many iterations are refused for another reason
        blob = changed(cls, name, value)
        assert getattr(Program.from_bytes(blob).functions["f"].code[0], name) == value
        create(blob)
    values = beyond(kind, allowed)
    assert values
    for value in values:
        blob, text = changed(cls, name, value), allowed_text(kind, allowed)
        with pytest.raises(IsaError) as error:
            Program.from_bytes(blob)
        assert str(error.value) == f"at 0x0: {cls.mnemonic}.{name}: {value}; allowed: {text}"
        with pytest.raises(IsaError) as error:
            create(blob)
        assert f"{cls.mnemonic}: {name} {value}; allowed: {text}" in str(error.value)


@pytest.mark.parametrize("cls", [isa.DmaLoad, isa.DmaIm2col, isa.DmaStore])
def test_an_argument_that_the_function_lacks(cls):
    blob = changed(cls, "arg", 1)
    with pytest.raises(IsaError, match=rf"^{cls.mnemonic} at 0x0: argument 1; the function has 1$"):
        Program.from_bytes(blob)
    with pytest.raises(IsaError, match=f"{cls.mnemonic}: argument 1; the function has 1"):
        create(blob)
