"""runtime/bytecode.py: the calls of a function are those that a run of it makes."""

import pytest
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from microscopiq.runtime.bytecode import calls_of
from microscopiq.target.errors import InputError


@I.ir_module
class Module:
    @R.function
    def twice(x: R.Tensor((2,), "float32")) -> R.Tensor((2,), "float32"):
        with R.dataflow():
            y = R.call_dps_packed("a", (x,), R.Tensor((2,), "float32"))
            z = R.call_dps_packed("b", (y,), R.Tensor((2,), "float32"))
            out = R.call_dps_packed("a", (z,), R.Tensor((2,), "float32"))
            R.output(out)
        return out

    @R.function
    def main(x: R.Tensor((2,), "float32")) -> R.Tensor((2,), "float32"):
        cls = Module
        y = cls.twice(x)
        z = R.call_dps_packed("c", (y,), R.Tensor((2,), "float32"))
        out = cls.twice(z)
        return out

    @R.function
    def branch(x: R.Tensor((2,), "float32"), c: R.Tensor((), "bool")) -> R.Tensor((2,), "float32"):
        cls = Module
        if c:  # noqa: SIM108  (TVMScript has no other form)
            y = cls.twice(x)
        else:
            y = x
        return y


@pytest.fixture(scope="module")
def module():
    return relax.build(Module, target="llvm").mod


def test_calls_in_order_with_those_of_called_functions(module):
    def own(function):
        return [name for name in calls_of(module, function) if name in "abc"]

    assert own("twice") == ["a", "b", "a"]
    assert own("main") == ["a", "b", "a", "c", "a", "b", "a"]


def test_what_has_no_answer_is_refused(module):
    with pytest.raises(InputError, match=r"the calls of 'branch' depend on its inputs \(if\)"):
        calls_of(module, "branch")
    with pytest.raises(InputError, match="no function 'mian' in the executable"):
        calls_of(module, "mian")
