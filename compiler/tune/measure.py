"""One candidate: from its decisions to the cycles that the timing core counts."""

import functools
import hashlib
import json

import tvm

from ...target.arch import Arch, load_arch
from ...target.isa.program import Program
from ..estimate.stand_in import stand_in_segment
from ..kinds.registry import emit_tile
from ..operators import Gemm
from ..tiling.tile import GemmTile

FUNCTION = "candidate"


def weights_key(segment: bytes) -> str:
    """Return what names packed weights: a hash of their content, "" for an operator without any.

    Two models may have an equal operator and outliers in other places, which cost other cycles.
    """
    return hashlib.sha256(segment).hexdigest() if segment else ""


@functools.lru_cache(maxsize=64)
def _stand_in(op: Gemm) -> bytes:
    return stand_in_segment(op)


def candidate_program(op: Gemm, tile: GemmTile, arch: Arch, segment: bytes | None = None) -> bytes:
    """Return the program of one candidate, with these weights or some of an operator's shape.

    Raises
    ------
    MicroscopiqError
        When the tile doesn't fit.
    """
    if segment is None:
        segment = _stand_in(op)
    function = emit_tile(op, tile, arch, FUNCTION, FUNCTION, segment)
    return Program.for_arch(arch, {FUNCTION: function}).to_bytes()


def program_record(blob: bytes) -> dict:
    """Return the call record of a candidate's program."""
    return json.loads(str(tvm.get_global_func("microscopiq.runtime.time_program")(blob, FUNCTION)))


def call_record(op: Gemm, tile: GemmTile, arch: Arch, segment: bytes) -> dict:
    """Return the call record of an operator under a schedule, with these weights."""
    return program_record(candidate_program(op, tile, arch, segment))


def measure(op: Gemm, tile: GemmTile, arch: str | Arch, segment: bytes | None = None) -> int:
    """Return the cycles of a candidate, with these weights or some of an operator's shape."""
    machine = load_arch(arch)
    return program_record(candidate_program(op, tile, machine, segment))["cycles"]
