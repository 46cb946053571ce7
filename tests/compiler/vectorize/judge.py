"""Whether what the vector unit was given comes out of the machine as LLVM computes it."""

import numpy as np
import tvm

from microscopiq import Session
from microscopiq.compiler.driver import build_host, run_stages
from microscopiq.compiler.llvm import build_for_llvm
from microscopiq.compiler.options import Options


def compiled(mod: tvm.IRModule, arch: str = "microscopiq-64x64"):
    return run_stages(mod, Options(recipe="int8", vector=True, arch=arch))


def check(mod: tvm.IRModule, arch: str = "microscopiq-64x64", inputs: list | None = None):
    """Compile a module; nothing may stay on the host, and every bit has to be LLVM's."""
    state = compiled(mod, arch)
    assert [(each.operator, each.reason) for each in state.host] == []
    inputs = normal(mod) if inputs is None else inputs
    found = Session(build_host(state.mod), debug=True).run(*inputs)
    wanted = Session(build_for_llvm(state.quantized)).run(*inputs).outputs
    plain = Session(build_for_llvm(mod)).run(*inputs).outputs
    for have, want, source in zip(found.outputs, wanted, plain, strict=True):
        assert have.dtype == want.dtype == source.dtype
        np.testing.assert_array_equal(
            np.ascontiguousarray(have).view(np.uint8), np.ascontiguousarray(want).view(np.uint8)
        )
        if have.dtype == np.float32:
            np.testing.assert_allclose(have, source, rtol=2e-5, atol=2e-5)
        else:
            np.testing.assert_array_equal(have, source)
    return state, found


def normal(mod: tvm.IRModule) -> list[np.ndarray]:
    """Return normal numbers for the inputs of a module."""
    rng = np.random.default_rng(0)
    shapes = [tuple(map(int, param.ty.shape.values)) for param in mod["main"].params]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def odd(mod: tvm.IRModule) -> list[np.ndarray]:
    """Return the same with zeros of both signs, halves, and numbers far from 1."""
    rng = np.random.default_rng(1)
    given = normal(mod)
    for each in given:
        each.flat[::3] = rng.choice(
            np.float32([0, -0.0, 0.5, -2.5, 1e-30, 3e38]), each.flat[::3].size
        )
    return given
