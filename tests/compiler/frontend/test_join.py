"""Several models as functions of one module: `frontend/join.py`."""

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.verify import run_reference, verify_layers

torch = pytest.importorskip("torch")


class Memory(torch.nn.Module):
    """Adds what it reads to a memory, so many rows at a time, and looks rows up by number."""

    def __init__(self, width=8):
        super().__init__()
        self.table = torch.nn.Embedding(10, 8)
        self.mix = torch.nn.Linear(8, width)
        self.register_buffer("memory", torch.zeros(width))

    def forward(self, ids):
        self.memory.add_(self.mix(self.table(ids)).sum(0))
        return self.memory + 0


PROMPT, TOKEN = torch.tensor([1, 2, 3, 4]), torch.tensor([5])


def model(width=8):
    torch.manual_seed(0)
    return Memory(width).eval()


@pytest.fixture(scope="module")
def mod():
    one = model()
    return mq.load_model(
        {"prefill": one, "decode": one}, {"prefill": (PROMPT,), "decode": (TOKEN,)}
    )


@pytest.fixture(scope="module")
def compilation(mod):
    return compile_model(mod, Options(recipe="int8"))


def test_functions_share_state(compilation):
    session, source = mq.Session(compilation.executable), model()
    assert session.input_names("prefill") == session.input_names("decode") == ["ids"]
    with torch.no_grad():
        for function, ids in (("prefill", PROMPT), ("decode", TOKEN), ("decode", TOKEN + 1)):
            found = session.run(ids, function=function).outputs[0]
            np.testing.assert_allclose(found, source(ids).numpy(), atol=0.1)
    assert session.state("prefill")["memory"].tolist() == session.state("decode")["memory"].tolist()
    with pytest.raises(mq.InputError, match=r"'table\.weight', from input 'ids', is outside"):
        session.run(PROMPT + 9, function="prefill")


def test_each_function_is_verified(compilation):
    for function, ids in (("prefill", PROMPT), ("decode", TOKEN)):
        checks = verify_layers(compilation, [ids.numpy()], function)
        assert not any(check.different for check in checks) and checks[-1].elements
        assert any(check.layer.startswith("mix") for check in checks)
        found = mq.Session(compilation.executable).run(ids, function=function).outputs[0]
        np.testing.assert_array_equal(found, run_reference(compilation, [ids.numpy()], function)[0])


@pytest.mark.parametrize("function", ["prefill", "decode"])
def test_samples_of_one_function_calibrate_the_weights_of_both(mod, function):
    samples = [torch.randint(0, 10, (len(PROMPT if function == "prefill" else TOKEN),)).numpy()]
    quantized = mq.quantize(
        mod, "gptq-w4a8", calibration=mq.Calibration(samples * 3, function=function)
    )
    rows = [row for row in read_records(quantized).layers.values() if row.weights]
    assert [row.layer for row in rows] == ["mix", "mix"]
    assert rows[0].weights == rows[1].weights
    assert rows[0].weights.calibration.calibration_rows > 0


def test_state_goes_from_sample_to_sample():
    class Integral(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sum", torch.zeros(1, 4))
            self.head = torch.nn.Linear(4, 4)

        def forward(self, x):
            self.sum.add_(x)
            return self.head(self.sum)

    mod = mq.load_model(Integral().eval(), (torch.zeros(1, 4),))
    samples = [np.ones((1, 4), np.float32)] * 4
    from microscopiq.compiler.calibration.collect import with_state

    calls = with_state(mod, "main", [(sample,) for sample in samples])
    assert [float(state[0, 0]) for _, state in calls] == [0, 1, 2, 3]
    quantized = mq.quantize(mod, "gptq-w4a8", calibration=samples)
    (row,) = [row for row in read_records(quantized).layers.values() if row.weights]
    assert row.weights.calibration.calibration_rows == 3
    with pytest.raises(mq.InputError, match=r"the module has only .*main"):
        mq.quantize(mod, "gptq-w4a8", calibration=mq.Calibration(samples, function="other"))


def test_state_of_one_name_has_one_type():
    with pytest.raises(mq.ConfigError, match=r"'memory' is .* in one function"):
        mq.load_model({"one": model(), "two": model(6)}, {"one": (PROMPT,), "two": (TOKEN,)})
    with pytest.raises(mq.ConfigError, match="can't name a function"):
        mq.load_model({"a b": model()}, {"a b": (PROMPT,)})
