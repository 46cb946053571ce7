"""target/isa: encoding, decoding, printing, and the files derived from the declarations."""

import dataclasses
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microscopiq.target.errors import IsaError
from microscopiq.target.isa import gen, instructions, spec
from microscopiq.target.isa.spec import REGISTRY, Affine, Mem, Unit, decode, encoded_bytes

ROOT = Path(__file__).resolve().parents[2]
CLASSES = sorted(REGISTRY.values(), key=lambda cls: cls.opcode)


def _signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def _each(element: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[element] * spec.LOOP_DEPTH)


AFFINES = st.builds(
    Affine, _signed(64), _each(_signed(32)), _each(_unsigned(8)), _unsigned(8), _unsigned(32)
)
OPERANDS = {
    "u8": _unsigned(8),
    "u16": _unsigned(16),
    "u32": _unsigned(32),
    "i32": _signed(32),
    "i64": _signed(64),
    "f32": st.floats(width=32, allow_nan=False),
    "affine": AFFINES,
    "argument": _unsigned(8),
    "extent": st.integers(0, spec.EXTENT_REGISTERS - 1),
    "mem": st.sampled_from([int(mem) for mem in Mem]),
    "unit": st.sampled_from([int(unit) for unit in Unit if unit is not Unit.CONTROL]),
}


def _instances(cls: type) -> st.SearchStrategy:
    operands = {name: OPERANDS[kind.name] for name, kind, _ in cls.operands()}
    for name, allowed in cls.constraints().items():
        operands[name] = st.sampled_from(allowed)
    return st.builds(cls, **operands)


INSTRUCTIONS = st.one_of([_instances(cls) for cls in CLASSES])


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.mnemonic)
@settings(max_examples=10)
@given(data=st.data())
def test_decode_inverts_encode(cls, data):
    instruction = data.draw(_instances(cls))
    code = instruction.encode()
    assert len(code) == encoded_bytes(cls) and len(code) % 4 == 0
    assert decode(b"\xff" * 8 + code, 8) == (instruction, 8 + len(code))


@settings(max_examples=100)
@given(INSTRUCTIONS, st.data())
def test_flipped_bit_is_refused_or_another_instruction(instruction, data):
    """No two byte strings mean the same: what decodes also encodes to the bytes it came from."""
    code = bytearray(instruction.encode())
    bit = data.draw(st.integers(0, 8 * len(code) - 1))
    code[bit // 8] ^= 1 << bit % 8
    try:
        other, end = decode(bytes(code), 0)
    except IsaError:
        return
    assert repr(other) != repr(instruction)
    assert other.encode() == bytes(code[:end])


@settings(max_examples=30)
@given(INSTRUCTIONS, st.data())
def test_truncation_is_refused(instruction, data):
    code = instruction.encode()
    with pytest.raises(IsaError):
        decode(code[: data.draw(st.integers(0, len(code) - 1))], 0)


def test_messages_of_refused_bytes():
    sem = instructions.Sem(3, 1).encode()
    with pytest.raises(IsaError, match=r"truncated instruction at 0x4: 2 bytes left"):
        decode(sem[:6], 4)
    with pytest.raises(IsaError, match=r"unknown opcode 0xee at 0x0"):
        decode(b"\xee\0" + sem[2:], 0)
    with pytest.raises(IsaError, match=r"sem at 0x0 says 12 bytes; it has 8"):
        decode(sem[:2] + struct.pack("<H", 12) + sem[4:], 0)
    with pytest.raises(IsaError, match=r"sem at 0x0: .*padding"):
        decode(sem[:-1] + b"\1", 0)
    clip = bytearray(instructions.Clip(0, 4, 8, Affine()).encode())
    clip[spec.HEADER.size] = 16
    with pytest.raises(IsaError, match=r"at 0x0: clip\.extent: extent 16; allowed: 0\.\.15"):
        decode(bytes(clip), 0)


def test_messages_of_refused_operands():
    with pytest.raises(IsaError, match=r"sem\.sem: 256 doesn't fit u8"):
        instructions.Sem(256, 0).encode()
    with pytest.raises(IsaError, match=r"clip\.extent: extent 16; allowed: 0\.\.15"):
        instructions.Clip(16, 4, 8, Affine()).encode()
    with pytest.raises(IsaError, match=r"clip\.start: .* doesn't fit affine"):
        instructions.Clip(0, 4, 8, Affine(base=1 << 63)).encode()
    with pytest.raises(IsaError, match=r"wait\.queue: unit 0; allowed: 1\.\.6"):
        instructions.Wait(Unit.CONTROL, 0).encode()
    at = Affine()
    with pytest.raises(IsaError, match=r"quant\.bits: 7; allowed: 4, 5, 6, 8"):
        instructions.Quant(at, 1, at, 1, at, 4, 0, 1, 7).encode()
    with pytest.raises(IsaError, match=r"sem\.sem: 64; allowed: 0\.\.63"):
        instructions.Sem(64, 0).encode()
    with pytest.raises(IsaError, match=r"loop\.count: 0; allowed: at least 1"):
        instructions.Loop(0).encode()


def test_opcode_is_declared_once():
    assert len({cls.mnemonic for cls in CLASSES}) == len(CLASSES)
    with pytest.raises(IsaError, match=r"opcode 0x1 is declared twice: again"):
        spec.instruction(0x01, "again", Unit.CONTROL)(type("Again", (), {}))


@given(AFFINES, st.lists(st.integers(0, 1000), max_size=spec.LOOP_DEPTH))
def test_affine_follows_its_formula(affine, counters):
    pairs = list(zip(range(spec.LOOP_DEPTH), counters, strict=False))
    expected = affine.base + sum(affine.strides[level] * c for level, c in pairs)
    if affine.slots > 1:
        turn = sum(affine.turns[level] * c for level, c in pairs)
        expected += affine.slot_step * (turn % affine.slots)
    assert affine.at(tuple(counters)) == expected
    assert (affine + 5).at(tuple(counters)) == expected + 5


def test_printing():
    rest = (0,) * (spec.LOOP_DEPTH - 3)
    ring = Affine(16, (0, 4, 1, *rest), (1, 0, 2, *rest), slots=2, slot_step=64)
    assert str(ring) == "0x10+4*i1+i2+0x40*((i0+2*i2)%2)"
    assert str(Affine(-3, slots=1, slot_step=8)) == "-3"
    wait = instructions.Wait(Unit.ARRAY, 3)
    assert str(wait) == "wait queue=array, sem=3"
    assert str(instructions.EndLoop()) == "endloop"
    clip = instructions.Clip(2, 4, 10, Affine(0, (4, 0, 0, *rest)))
    assert str(clip) == "clip extent=e2, tile=4, limit=10, start=[4*i0]"


@settings(max_examples=30)
@given(INSTRUCTIONS)
def test_printing_names_every_operand(instruction):
    text = str(instruction)
    assert text.startswith(instruction.mnemonic)
    assert all(f"{field.name}=" in text for field in dataclasses.fields(instruction))


@pytest.mark.parametrize("name", gen.OUTPUTS)
def test_committed_files_equal_the_declarations(name):
    committed = (ROOT / name).read_text()
    assert committed == gen.OUTPUTS[name](), "run python -m microscopiq.target.isa.gen"
