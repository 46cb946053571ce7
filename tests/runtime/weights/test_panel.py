"""runtime/src/weights/panel.cc: what a saved program's panels must be before anything runs."""

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import IsaError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Function, Program
from microscopiq.target.packing import pack
from microscopiq.target.segment import panels, shape_only
from microscopiq.target.weight import empty
from tests.malformed_segments import MALFORMED


def load(segment: bytes) -> None:
    function = Function("f", "", (), (isa.End(),), segment)
    blob = Program.for_arch(load_arch("tiny-4x4"), {"f": function}).to_bytes()
    runtime.load()
    tvm_ffi.get_global_func("microscopiq.runtime.create")(blob)


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_segments_are_refused(case):
    bad = MALFORMED[case]
    segment = bad.segment()
    load(bytes(segment))
    bad.change(segment)
    if not bad.core:
        load(bytes(segment))
        return
    with pytest.raises(IsaError, match=bad.core):
        load(bytes(segment))


def test_templates_are_checked_as_panels_are():
    (good,) = panels(pack([empty("int8", 8, 8)]))
    load(shape_only([good, good], np.array([0, 1, 0])))
    with pytest.raises(IsaError, match=r"weight panel 1 .* has 85 bytes; its contents end at 84"):
        load(shape_only([good, good + b"x"], np.array([0, 1, 0])))


def test_ragged_metadata_has_its_length():
    """130 columns and 131 inputs: panels of 1 and 2 micro-blocks, 16 flags in two bytes."""
    weight = empty("ms2", 130, 131)
    weight.pairs[::3, ::5, 0], weight.relative_exponent[::3, ::5] = (2, 5), 1
    load(pack([weight]))
