"""target/isa/program.py: saving, loading, and every refusal."""

import dataclasses
import random
import struct
import subprocess
import sys
import zlib

import pytest

from microscopiq.target.arch import integer_keys, load_arch
from microscopiq.target.errors import IsaError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import MAGIC, VERSION, Argument, Function, Part, Program
from microscopiq.target.isa.spec import LOOP_DEPTH, Affine, Mem, Unit
from microscopiq.target.segment import SHAPE_ONLY

ARCH = load_arch("tiny-4x4")
NO_PANELS = struct.pack("<II", 0, 8)
HEAD = len(MAGIC) + struct.calcsize("<IIQ")


def _affine(base: int = 0, *strides: int) -> Affine:
    return Affine(base, strides + (0,) * (LOOP_DEPTH - len(strides)))


def _copy_function() -> Function:
    """Copy 10 floats in tiles of 4 through obuf."""
    move = {"element": 4, "rows": 0, "cols": 1}
    code = (
        isa.Clip(0, 1, 1, Affine()),
        isa.Sem(0, 1),
        isa.Loop(3),
        isa.Clip(1, 4, 10, _affine(0, 4)),
        isa.Wait(Unit.DMA_IN, 0),
        isa.DmaLoad(Mem.OBUF, _affine(), 0, 0, _affine(0, 16), 0, 4, **move),
        isa.Post(Unit.DMA_IN, 1),
        isa.Wait(Unit.DMA_OUT, 1),
        isa.DmaStore(1, _affine(0, 16), 0, 4, Mem.OBUF, _affine(), 0, **move),
        isa.Post(Unit.DMA_OUT, 0),
        isa.EndLoop(),
        isa.End(),
    )
    arguments = (
        Argument("x", "float32", (2, 5)),
        Argument("y", "float32", (10,), is_output=True),
    )
    return Function("copy", "model.layer é", arguments, code, NO_PANELS, 7, {2: "each tile"})


def _program() -> Program:
    parts = (Part("a", "layer a", 5, 0), Part("b", "", 2, 1))
    code = (isa.Sem(0, 0), isa.End())
    other = Function("nothing", "", (Argument("z", "int8", ()),), code, parts=parts)
    return Program.for_arch(ARCH, {"copy": _copy_function(), "nothing": other})


def _seal(payload: bytes) -> bytes:
    """Return a file with a right checksum around any payload."""
    return MAGIC + struct.pack("<IIQ", VERSION, zlib.crc32(payload), len(payload)) + payload


def test_load_inverts_save():
    program = _program()
    data = program.to_bytes()
    loaded = Program.from_bytes(data)
    assert loaded == program
    assert loaded.to_bytes() == data
    assert (loaded.arch_name, loaded.arch_hash) == (ARCH.name, ARCH.hash)
    assert loaded.arch_numbers == {f.name: getattr(ARCH, f.name) for f in integer_keys()}


def test_listing(golden):
    golden("program_listing.txt", _program().listing().replace(ARCH.hash, "HASH"))
    only = _program().listing("nothing")
    assert "nothing:" in only and "copy:" not in only


def test_every_truncation_is_refused():
    data = _program().to_bytes()
    for length in range(len(data)):
        with pytest.raises(IsaError):
            Program.from_bytes(data[:length])


def test_every_changed_byte_is_refused():
    data = _program().to_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(IsaError):
            Program.from_bytes(bytes(changed))


def test_truncation_inside_a_valid_checksum_is_refused():
    payload = _program().to_bytes()[HEAD:]
    for length in range(len(payload)):
        with pytest.raises(IsaError):
            Program.from_bytes(_seal(payload[:length]))


def test_mutations_inside_a_valid_checksum_raise_only_isa_errors():
    """A file from a broken writer: it loads as another program or is refused by name."""
    payload, rng = _program().to_bytes()[HEAD:], random.Random(7)
    for _ in range(1000):
        changed = bytearray(payload)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        try:
            Program.from_bytes(_seal(bytes(changed))).to_bytes()
        except IsaError:
            continue


def test_head_refusals():
    data = _program().to_bytes()
    with pytest.raises(IsaError, match="not a microscopiq program: the first bytes aren't"):
        Program.from_bytes(b"\x7fELF" + data[4:])
    with pytest.raises(IsaError, match="not a microscopiq program"):
        Program.from_bytes(b"")
    newer = data[: len(MAGIC)] + struct.pack("<I", VERSION + 1) + data[len(MAGIC) + 4 :]
    with pytest.raises(IsaError, match=rf"version {VERSION + 1}; this build reads .*{VERSION}$"):
        Program.from_bytes(newer)
    with pytest.raises(IsaError, match="corrupted program: the checksum doesn't match"):
        Program.from_bytes(data + b"\0")


def _replaced(old: bytes, new: bytes) -> bytes:
    payload = _program().to_bytes()[HEAD:]
    assert payload.count(old) == 1
    return _seal(payload.replace(old, new))


def test_reading_needs_no_other_import(tmp_path):
    """Found by tests/fuzz/loaders.py: the first program read had instructions nobody knew."""
    path = tmp_path / "program.bin"
    path.write_bytes(_program().to_bytes())
    script = "import sys, pathlib; from microscopiq.target.isa.program import Program; "
    script += "print(len(Program.from_bytes(pathlib.Path(sys.argv[1]).read_bytes()).functions))"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(len(_program().functions)), done.stderr


@pytest.mark.parametrize(("notes", "wrong"), [((3, 3), 3), ((3, 1), 1), ((1, 99), 99)])
def test_notes_that_no_writer_makes(notes, wrong):
    """Found by tests/fuzz/loaders.py: they were read, and written again as other bytes."""
    program = _program()
    name, function = next(iter(program.functions.items()))
    order = {index: "" for index in (1, 3)}
    only = dataclasses.replace(function, notes=order)
    data = dataclasses.replace(program, functions={name: only}).to_bytes()
    assert Program.from_bytes(data).functions[name].notes == order
    end = b"".join(struct.pack("<II", index, 0) for index in notes)
    with pytest.raises(IsaError, match=f"note for instruction {wrong}; allowed: .* in ascending"):
        Program.from_bytes(_seal(data[HEAD : -len(end) - 20] + end + data[-20:]))


BAD_SEGMENTS = {
    "weight segment of 3 bytes; allowed: 0, or at least 4": b"\0\0\0",
    "weight segment of 4 bytes; allowed: 0, or at least 8": struct.pack("<I", SHAPE_ONLY),
    "8 bytes: a directory of 1 panels needs 12": struct.pack("<II", 1, 8),
    "offsets .13, 12.; allowed: ascending from 12 to 13": struct.pack("<III", 1, 13, 12) + b"x",
    "offsets .12, 14.; allowed: ascending from 12 to 13": struct.pack("<III", 1, 12, 14) + b"x",
    "a panel like template 1; it has 1": struct.pack("<IIIIH", SHAPE_ONLY + 1, 1, 18, 18, 1),
}


@pytest.mark.parametrize("message", BAD_SEGMENTS)
def test_segments_that_do_not_fit_their_directory(message):
    """Found by tests/fuzz/loaders.py: the listing met them first, with a struct.error."""
    function = dataclasses.replace(_copy_function(), weights=BAD_SEGMENTS[message])
    data = Program.for_arch(ARCH, {"copy": function}).to_bytes()
    with pytest.raises(IsaError, match=message):
        Program.from_bytes(data)


def test_payload_refusals():
    payload = _program().to_bytes()[HEAD:]
    with pytest.raises(IsaError, match="2 bytes after the program's end"):
        Program.from_bytes(_seal(payload + b"\0\0"))
    with pytest.raises(IsaError, match=r"truncated program: \d+ bytes wanted at 0x"):
        Program.from_bytes(_seal(payload[:-1]))
    with pytest.raises(IsaError, match="text isn't UTF-8"):
        Program.from_bytes(_replaced(b"model.layer", b"model\xff\xfeayer"))
    with pytest.raises(IsaError, match="argument 'z': dtype code 9, 0 dimensions"):
        Program.from_bytes(_replaced(b"z\2\0\0\0\0\0", b"z\x09\0\0\0\0\0"))
    with pytest.raises(IsaError, match="argument 'z': dtype code 2, 9 dimensions"):
        Program.from_bytes(_replaced(b"z\2\0\0\0\0\0", b"z\2\0\x09\0\0\0"))


def test_architecture_keys_must_be_the_known_ones():
    numbers = ARCH.numbers()
    del numbers["clock_mhz"]
    data = dataclasses.replace(_program(), arch_numbers=numbers).to_bytes()
    with pytest.raises(IsaError, match=r"lacks architecture keys: \['clock_mhz'\]"):
        Program.from_bytes(data)
    more = dataclasses.replace(_program(), arch_numbers={**ARCH.numbers(), "wings": 2}).to_bytes()
    with pytest.raises(IsaError, match=r"unknown architecture keys: \['wings'\]"):
        Program.from_bytes(more)


def test_same_name_twice_is_refused():
    program = _program()
    twin = {"a": program.functions["copy"], "b": program.functions["copy"]}
    data = dataclasses.replace(program, functions=twin).to_bytes()
    with pytest.raises(IsaError, match="two functions are named 'copy'"):
        Program.from_bytes(data)
