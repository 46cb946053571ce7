"""argmax and argmin of the vector unit against TVM's own code on LLVM."""

import numpy as np
import pytest
import tvm
from tvm import relax

from microscopiq.runtime.reference.vector import _place

LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_tvm_finds_the_same_places(name):
    rng = np.random.default_rng(3)
    odd = np.float32([np.nan, np.inf, -np.inf, LARGEST, -LARGEST, 0.0, -0.0, 1.0, 2.0])
    rows = rng.choice(odd, (400, 7))
    rows[:40] = rng.choice(odd[1:], (40, 7))
    rows[40:44] = odd[1:5, None]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(rows.shape, "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(getattr(relax.op, name)(x, axis=1)))
    built = tvm.relax.build(builder.get(), target="llvm")
    found = tvm.relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(rows)).numpy()
    np.testing.assert_array_equal(found, _place(name, rows))
