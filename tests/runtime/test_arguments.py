"""Values on their way into a compiled model: `runtime/arguments.py`."""

import ml_dtypes
import numpy as np
import pytest

from microscopiq.runtime.arguments import tensor, widened
from microscopiq.target.errors import InputError

torch = pytest.importorskip("torch")
NARROW = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
REFUSED = ValueError('param=x, annotation=R.Tensor((2,), dtype="float32"))  expect Tensor')


@pytest.mark.parametrize("name", [*NARROW, "float16", "float64", "int32", "uint8", "bool"])
def test_torch_tensors_of_any_type_are_taken(name):
    value = torch.tensor([0.5, 2.0]).to(getattr(torch, name))
    found = tensor("x", value)
    assert str(found.dtype) == name
    np.testing.assert_array_equal(found.numpy().astype(np.float64), value.double().numpy())


@pytest.mark.parametrize("name", NARROW)
def test_arrays_of_ml_dtypes_are_taken_and_widened_when_float32_is_asked_for(name):
    array = np.array([0.5, -2.0], getattr(ml_dtypes, name))
    given = {"x": tensor("x", array), "y": tensor("y", array)}
    assert str(given["x"].dtype) == name
    wide = widened(REFUSED, given)
    np.testing.assert_array_equal(wide["x"].numpy(), np.float32([0.5, -2.0]))
    assert wide["x"].numpy().dtype == np.float32 and wide["y"] is given["y"]
    assert widened(REFUSED, wide) is None
    assert widened(ValueError("something else"), given) is None


def test_other_things_are_refused():
    with pytest.raises(InputError, match="input 'x': numbers are needed, given an array of <U1"):
        tensor("x", np.array(["a"]))
    with pytest.raises(InputError, match="input 'x': given dict; allowed"):
        tensor("x", {})
