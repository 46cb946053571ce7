"""runtime/src/program/sizes.cc: what Python refuses is refused; calls decide the sizes."""

import json

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.target.errors import InputError, IsaError
from microscopiq.target.isa.program import Program
from microscopiq.target.isa.sizes import Row
from tests.target.test_sizes import ARCH, BAD, SIZES, changed, function, program

runtime.load()
create = tvm_ffi.get_global_func("microscopiq.runtime.create")


@pytest.mark.parametrize("message", BAD)
def test_both_loaders_refuse(message):
    with pytest.raises(IsaError):
        create(program(BAD[message]).to_bytes())


def call(module, columns: int, results: int):
    tensors = [np.zeros((2, columns), np.float32), np.zeros(results, np.float32)]
    module["f"](*map(tvm_ffi.from_dlpack, tensors))


def test_a_call_decides_the_sizes():
    module = create(program().to_bytes())
    runtime.set_debug(False)  # nothing is stored in the output
    for size, results in ((9, 2), (40, 5), (1, 1), (9, 2)):
        module["microscopiq.reset"]()
        call(module, 3 * size + 2, results)
        (record,) = json.loads(str(module["microscopiq.stats"]()))
        made = function().at({"n": size})
        assert record["instructions"] == 2 + 2 * made.code[0].count


@pytest.mark.parametrize(
    ("columns", "results", "message"),
    [
        (125, 5, r"argument 0, dimension 1: 125; allowed: 3\*n\+2 with n from 1 to 40"),
        (2, 1, "argument 0, dimension 1: 2; allowed"),
        (30, 2, "argument 0, dimension 1: 30; allowed"),
        (29, 3, r"argument 1 'y': expected float32\[2\], given float32\[3\]"),
    ],
)
def test_sizes_that_no_call_may_have(columns, results, message):
    with pytest.raises(InputError, match=message):
        call(create(program().to_bytes()), columns, results)


def test_code_for_a_size_is_checked_as_any_other():
    """A loop of no turns is refused when the program is loaded, or when a size makes one."""
    rows = (Row(4, ((1, (0,)),)), *SIZES.rows[1:])
    module = create(program(changed(rows=rows)).to_bytes())
    with pytest.raises(IsaError, match="function 'f' for n = 3: pc 0x0: loop: count 0; allowed"):
        call(module, 11, 1)
    assert Program.for_arch(ARCH, {}).functions == {}
