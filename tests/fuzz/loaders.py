"""Changed programs through the loader in Python and the one in C++.

python -m tests.fuzz.loaders [--programs N] [--seed S]

Both may refuse a program, with an IsaError and nothing else. One that C++ takes Python takes too,
as the same instructions, and writes it as the same bytes.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import random
import struct
import sys
import time
import zlib

import tvm_ffi

from microscopiq import runtime
from microscopiq.target.errors import IsaError
from microscopiq.target.isa.program import MAGIC, VERSION, Function, Program, function_listing
from microscopiq.target.isa.sizes import NO_SIZES

from .seeds import seeds

HEAD = len(MAGIC) + struct.calcsize("<IIQ")
NOTABLE = (0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 4096, 32767, 65535, 1 << 31)
MOST_SECONDS = 5.0
"""Of one program; a loader that takes longer hangs."""


def seal(payload: bytes) -> bytes:
    """Return a payload with the head that makes it a program."""
    return MAGIC + struct.pack("<IIQ", VERSION, zlib.crc32(payload), len(payload)) + payload


def change(program: bytes, rng: random.Random) -> bytes:
    """Return a changed program, mostly with the right checksum."""
    data = bytearray(program)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place, kind = rng.randrange(HEAD, len(data)), rng.random()
        if kind < 0.35:
            data[place] ^= 1 << rng.randrange(8)
        elif kind < 0.85:
            number = rng.choice((*NOTABLE, rng.getrandbits(8), rng.getrandbits(64)))
            width = min(rng.choice((1, 1, 2, 4, 8)), len(data) - place)
            data[place : place + width] = (number & (1 << 8 * width) - 1).to_bytes(width, "little")
        elif kind < 0.95:
            length, other = rng.randrange(1, 64), rng.randrange(HEAD, len(data))
            data[place : place + length] = data[other : other + length]
        else:
            del data[place : place + rng.randrange(1, 64)]
        if len(data) <= HEAD:
            break
    if rng.random() < 0.02:
        data[rng.randrange(min(HEAD, len(data)))] ^= 1 << rng.randrange(8)
        return bytes(data)
    return seal(bytes(data[HEAD:]))


def load_both(data: bytes, create) -> tuple[Program | None, object | None]:
    """Return what Python and C++ make of a program, None for what one refuses."""
    program = module = None
    with contextlib.suppress(IsaError):
        program = Program.from_bytes(data)
        program.listing()
    with contextlib.suppress(IsaError):
        module = create(data)
    return program, module


def disagreement(data: bytes, program: Program | None, module) -> str:
    """Return what is wrong with a program that C++ took, '' for nothing."""
    if program is None:
        return "C++ takes what Python refuses"
    if program.to_bytes() != data:
        return "Python writes other bytes than it read"
    text = "".join(
        f"{name}:\n{assembly(program.functions[name])}"
        for name in sorted(program.functions, key=str.encode)
    )
    return "" if text == module.inspect_source("asm") else "other instructions"


def assembly(function: Function) -> str:
    """Return a function's instructions alone: what names and notes hold is free text."""
    nothing = {"name": "", "layer": "", "arguments": (), "weights": b"", "notes": {}, "parts": ()}
    bare = dataclasses.replace(function, **nothing, sizes=NO_SIZES)
    return "".join(f"{line}\n" for line in function_listing(bare).split("\n")[2:])


def fuzz(count: int, seed: int) -> dict[str, int]:
    """Return how many programs each loader took and refused.

    Raises
    ------
    AssertionError
        For a disagreement or a loader that hangs; it names a file with the program.
    """
    runtime.load()
    create = tvm_ffi.get_global_func("microscopiq.runtime.create")
    rng, given = random.Random(seed), list(seeds().values())
    programs, counts = list(given), collections.Counter[str]()
    for _ in range(count):
        data = change(rng.choice(programs), rng)
        start = time.perf_counter()
        try:
            program, module = load_both(data, create)
            problem = "" if module is None else disagreement(data, program, module)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if time.perf_counter() - start > MOST_SECONDS:
            problem = "hangs"
        if problem:
            with open("crash.bin", "wb") as file:
                file.write(data)
            raise AssertionError(f"{problem}; the program is in crash.bin")
        counts["python_took"] += program is not None
        counts["cpp_took"] += module is not None
        if module is not None and len(programs) < 20 * len(given):
            programs.append(data)
    return {
        "programs": count,
        "python_took": counts["python_took"],
        "python_refused": count - counts["python_took"],
        "cpp_took": counts["cpp_took"],
        "cpp_refused": count - counts["cpp_took"],
    }


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(json.dumps(fuzz(arguments.programs, arguments.seed)))


if __name__ == "__main__":
    sys.exit(main())
