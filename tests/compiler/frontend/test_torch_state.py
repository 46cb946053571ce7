"""Models that change buffers, parameters or their inputs: `frontend/torch/state.py`."""

import numpy as np
import pytest
import tvm

import microscopiq as mq
from microscopiq.compiler.llvm import build_for_llvm

torch = pytest.importorskip("torch")


class Sum(torch.nn.Module):
    """Adds its inputs up over calls, counts them, and moves a weight."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.register_buffer("total", torch.zeros(2, 3))
        self.register_buffer("calls", torch.tensor([5, 7]))
        self.mix = torch.nn.Linear(3, 3)

    def forward(self, x):
        self.total.add_(x)
        self.calls += 1
        self.scale.mul_(0.5)
        return self.mix(self.total) * self.scale, self.calls + 0


class Overwrites(torch.nn.Module):
    def forward(self, x):
        x.add_(1)
        return x * 2


def inputs(count=5):
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(1))


def model():
    torch.manual_seed(0)
    return Sum().eval()


@pytest.fixture(scope="module")
def mod():
    return mq.load_model(model(), (torch.zeros(2, 3),))


@pytest.fixture(scope="module")
def executable(mod):
    return mq.build(mod, recipe="int8")


@pytest.fixture(scope="module")
def expected():
    with torch.no_grad():
        changed = model()
        return [[y.numpy() for y in changed(x)] for x in inputs()]


def assert_near(found, expected):
    (product, calls), (want, count) = found, expected
    np.testing.assert_allclose(product, want, atol=0.03)
    np.testing.assert_array_equal(calls, count)


def test_state_goes_from_call_to_call(executable, expected):
    session = mq.Session(executable)
    assert session.input_names() == ["x"]
    for x, want in zip(inputs(), expected, strict=True):
        assert_near(session.run(x).outputs, want)
    state = session.state()
    assert sorted(state) == ["calls", "scale", "total"]
    np.testing.assert_allclose(state["total"], inputs().sum(0).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(state["scale"], np.float32([1, 2, 3]) / 32)
    session.reset()
    assert_near(session.run(inputs()[0]).outputs, expected[0])


def test_sessions_keep_state_of_their_own_and_a_failed_run_changes_none(executable, expected):
    one, other = mq.Session(executable), mq.Session(executable)
    one.run(inputs()[3])
    assert_near(other.run(inputs()[0]).outputs, expected[0])
    with pytest.raises(mq.InputError, match="'x' must be float32"):
        other.run(inputs()[1][:1])
    assert_near(other.run(inputs()[1]).outputs, expected[1])


def test_a_library_and_a_bare_virtual_machine_carry_it(executable, expected, tmp_path):
    mq.export_library(executable, tmp_path / "sum.so")
    session = mq.Session(tmp_path / "sum.so")
    vm = tvm.relax.VirtualMachine(session.module, tvm.cpu())
    names = [str(vm.module["get_function_param_name"]("main", index)) for index in range(4)]
    state = [vm[name]() for name in names[1:]]
    for x, want in zip(inputs(), expected, strict=True):
        product, calls, *state = vm["main"](tvm.runtime.tensor(x.numpy()), *state)
        assert_near((product.numpy(), calls.numpy()), want)
        assert_near(session.run(x).outputs, want)


def test_plain_tvm_builds_it_too(mod, expected):
    session = mq.Session(build_for_llvm(mod))
    for x, want in zip(inputs(), expected, strict=True):
        found = session.run(x).outputs
        np.testing.assert_allclose(found[0], want[0], rtol=1e-5, atol=1e-6)


def test_a_model_that_changes_its_input_is_refused():
    with pytest.raises(mq.UnsupportedError, match="changes its input\\(s\\) 'x' in place"):
        mq.load_model(Overwrites(), (torch.ones(3),))
