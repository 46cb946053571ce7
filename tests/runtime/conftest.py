"""The judge of the runtime tests: every kernel variant of the C++ core against the reference."""

import numpy as np
import pytest
import tvm_ffi

from microscopiq import runtime
from microscopiq.runtime.reference.run import run
from microscopiq.target.arch import Arch
from microscopiq.target.isa.program import Function, Program


@pytest.fixture(scope="session")
def core():
    """Return a check that reference and core give the same bytes; it returns the outputs."""
    runtime.load()
    create = tvm_ffi.get_global_func("microscopiq.runtime.create")
    select = tvm_ffi.get_global_func("microscopiq.runtime.select_kernels")
    variants = [str(name) for name in tvm_ffi.get_global_func("microscopiq.runtime.kernels")()]

    def check(function: Function, arch: Arch, inputs: list[np.ndarray]) -> list[np.ndarray]:
        outputs = [np.zeros(a.shape, a.dtype) for a in function.arguments if a.is_output]
        run(function, arch, [*inputs, *outputs])
        module = create(Program.for_arch(arch, {function.name: function}).to_bytes())
        for variant in variants:
            select(variant)
            found = [np.zeros_like(output) for output in outputs]
            module[function.name](*map(tvm_ffi.from_dlpack, [*inputs, *found]))
            for expected, actual in zip(outputs, found, strict=True):
                np.testing.assert_array_equal(actual.view(np.int8), expected.view(np.int8), variant)
        select(variants[0])
        return outputs

    return check
