"""Models that other people trained, end to end; each needs its files (MICROSCOPIQ_DATA)."""

import json
import subprocess
import sys

import numpy as np
import pytest

import microscopiq as mq
from benchmarks.models import MODELS, MissingData, data_file
from benchmarks.quality import measure
from microscopiq.compiler.frontend.load import load_model

LEAST_SQNR_DB = {
    "resnet20": 6.0,
    "ddpm": 18.0,
    "silero": 16.0,
    "stories260k": 12.0,
    "babyllama": 10.0,
}
"""W4A8 without data; a little below what was measured, so that a regression shows."""

FRESH = """
import json, warnings
warnings.simplefilter("ignore")
import numpy as np
import tvm
from benchmarks.models import MODELS
real = MODELS["minilm"](batch=1, length=32)
import torch

def by_torch():
    from tvm.relax.frontend.torch import from_exported_program
    with torch.no_grad():
        return from_exported_program(torch.export.export(real.module, real.example_inputs))

def by_onnx():
    from tvm.relax.frontend.onnx import from_onnx
    proto = torch.onnx.export(
        real.module, real.example_inputs, dynamo=True, verbose=False).model_proto
    return from_onnx(proto)

def measured(mod):
    executable = tvm.relax.build(mod, target="microscopiq")
    machine = tvm.relax.VirtualMachine(executable, tvm.cpu())
    out = machine["main"](*[tvm.runtime.tensor(t.numpy()) for t in real.example_inputs])
    out = (out if hasattr(out, "numpy") else out[0]).numpy()
    want = real.module(*real.example_inputs).detach().numpy()
    stats = executable.mod.get_function("microscopiq.stats", query_imports=True)()
    # A call of joined operators has the name of each.
    names = [name for call in json.loads(str(stats)) for name in call["name"].split("+")]
    return {
        "linears": sum(name.startswith("mq_linear") for name in names),
        "attentions": sum(name.startswith("mq_attention") for name in names),
        "sqnr": float(10 * np.log10((want**2).sum() / ((want - out) ** 2).sum())),
    }

print(json.dumps({"torch": measured(by_torch()), "onnx": measured(by_onnx())}))
"""


@pytest.fixture(scope="module")
def minilm() -> dict:
    """Return what one process, which imports nothing of microscopiq, finds by each frontend."""
    pytest.importorskip("transformers", reason="package transformers is missing")
    done = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=600, check=False
    )
    if "MissingData" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("frontend", ["torch", "onnx"])
def test_minilm_with_only_tvm_imported(minilm, frontend):
    """`import tvm` alone puts all 36 linears and 12 attention matmuls on the array."""
    found = minilm[frontend]
    assert (found["linears"], found["attentions"]) == (36, 12)
    assert found["sqnr"] > 8.0


SLOW = {"babyllama", "ddpm", "stories260k"}
"""A residual and a recurrent network are in every run, a tiny LLaMA is in test_frontends.py."""
FINEQ = ("ddpm", "fineq-w2a8", 10.0)
"""A model without attention on FineQ's own machine, two bits a weight."""


@pytest.mark.parametrize(
    ("name", "recipe", "least"),
    [
        *(
            pytest.param(
                name, "microscopiq-w4a8", least, marks=[pytest.mark.slow] if name in SLOW else []
            )
            for name, least in sorted(LEAST_SQNR_DB.items())
        ),
        pytest.param(*FINEQ, marks=pytest.mark.slow),
    ],
)
def test_real_model_equals_reference(name, recipe, least):
    """Every call and the outputs equal LLVM bit for bit; the error against fp32 is bounded."""
    try:
        real = MODELS[name]()
    except MissingData as error:
        pytest.skip(str(error))
    mod = load_model(real.module, real.example_inputs)
    row = measure(name, mod, real, recipe)
    assert row["calls"] > 0
    assert row["calls_equal"] == row["calls"]
    assert row["output_equal"]
    assert row["sqnr_db"] > least
    assert np.isfinite(row["sqnr_db"])


def test_silero_is_the_network_of_its_onnx_file():
    """The module that is measured decides as the authors' graph does, and keeps the same state."""
    try:
        real = MODELS["silero"](batch=2)
        path = data_file("silero_vad", "silero_vad_16k_op15.onnx")
    except MissingData as error:
        pytest.skip(str(error))
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    from benchmarks.models import silero
    from benchmarks.models.speech import speech

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = np.zeros((2, 2, silero.UNITS), np.float32)
    ours = silero.start(2)
    speaking = []
    for x in silero.chunks(speech(2, seed=2)):
        with torch.no_grad():
            found, *ours = real.module(x, *ours)
        inputs = {"input": x.numpy(), "state": theirs, "sr": np.array(silero.RATE, np.int64)}
        wanted, theirs = session.run(None, inputs)
        np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5)
        np.testing.assert_allclose(np.stack(ours), theirs, atol=1e-4)
        speaking.append(wanted >= silero.THRESHOLD)
    # Both answers occur, so that agreement says something.
    assert 0.3 < np.mean(speaking) < 0.9


@pytest.mark.slow
def test_silero_by_its_file_decides_as_onnx_runtime_does():
    """The authors' file, with its `If` on the rate and its open sizes, in W8A8."""
    try:
        path = data_file("silero_vad", "silero_vad.onnx")
        MODELS["silero"](batch=2)
    except MissingData as error:
        pytest.skip(str(error))
    onnxruntime = pytest.importorskip("onnxruntime")
    from benchmarks.models import silero
    from benchmarks.models.speech import speech

    frames = [x.numpy() for x in silero.chunks(speech(2, seed=2))]
    state = np.zeros((2, 2, silero.UNITS), np.float32)
    sizes = {"input": frames[0].shape, "state": state.shape}
    mod = load_model(path, input_shapes=sizes, input_values={"sr": silero.RATE})
    assert [param.name for param in mod["main"].params] == ["input", "state"]
    session = mq.Session(mq.build(mod, recipe="int8"))
    source = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs, same = state, []
    for x in frames:
        rate = np.array(silero.RATE, np.int64)
        wanted, theirs = source.run(None, {"input": x, "state": theirs, "sr": rate})
        found, state = session.run(x, state).outputs
        same.append((found >= silero.THRESHOLD) == (wanted >= silero.THRESHOLD))
    assert len(frames) >= 100 and np.mean(same) >= 0.98
