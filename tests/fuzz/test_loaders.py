"""tests/fuzz: a small share of what `make fuzz` runs, and that its check can fail."""

import struct

import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.target.errors import IsaError
from microscopiq.target.isa.program import Program

from .loaders import HEAD, disagreement, fuzz, seal
from .seeds import OPERATORS, program


@pytest.mark.slow
def test_changed_programs_are_refused_or_read_alike():
    counts = fuzz(1000, seed=2)
    assert counts["cpp_took"] > 100 and counts["python_refused"] > 100


def test_a_disagreement_shows():
    runtime.load()
    create = tvm_ffi.get_global_func("microscopiq.runtime.create")
    data, other = (program(OPERATORS[name]).to_bytes() for name in ("int8", "int4"))
    read, module = Program.from_bytes(data), create(data)
    assert disagreement(data, read, module) == ""
    assert disagreement(data, None, module) == "C++ takes what Python refuses"
    assert disagreement(data, read, create(other)) == "other instructions"
    # A layer's name, which both read as text.
    changed = seal(data[HEAD:].replace(b"seed", b"weed"))
    assert "other bytes" in disagreement(changed, read, create(changed))


def test_a_number_that_is_none_is_refused_by_both():
    """A signalling NaN's bits don't survive a reader of numbers: no operand may be NaN."""
    runtime.load()
    create = tvm_ffi.get_global_func("microscopiq.runtime.create")
    data = program(OPERATORS["ms4"]).to_bytes()  # it clamps at 6
    low, high = struct.pack("<f", 6.0), struct.pack("<I", 0x7FA00001)
    assert data.count(low) == 1
    changed = seal(data[HEAD:].replace(low, high))
    for load in (Program.from_bytes, create):
        with pytest.raises(IsaError, match="is NaN; allowed: numbers"):
            load(changed)
