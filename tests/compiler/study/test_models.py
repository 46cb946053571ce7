"""The matrix of models: its registry, what a row says, its page."""

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

import microscopiq as mq
from microscopiq.compiler.demo.run import FOLDER
from microscopiq.compiler.options import Options
from microscopiq.compiler.study.models.registry import architectures
from microscopiq.compiler.study.models.run import Imported, Row, Source, measure
from microscopiq.compiler.study.models.sources import sources
from microscopiq.compiler.study.models.table import cells, decibels, page, reasons
from tests.compiler.relax_modules import const, inputs_of, model, module, run_llvm

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_rows_are_named_once_and_chosen_by_name(tmp_path):
    assert {"LeNet", "BERT", "Mixtral", "wav2vec 2.0", "DLRM"} <= set(architectures())
    assert not [name for name in architectures() if "," in name]
    rows = sources(["MLP", "Counter"], None)
    assert [(row.name, row.form) for row in rows] == [
        ("MLP", "torch"),
        ("MLP", "onnx"),
        ("Counter", "torch"),
    ]
    assert [row.form for row in sources(["MLP"], None, "onnx")] == ["onnx"]
    with pytest.raises(mq.ConfigError, match="unknown form of a model 'tf'"):
        sources(None, None, "tf")
    with pytest.raises(mq.ConfigError, match="unknown model 'MPL'; did you mean MLP"):
        sources(["MPL"], None)
    with pytest.raises(mq.ConfigError, match=r"no \.onnx file in"):
        sources(None, tmp_path)


@pytest.mark.slow
def test_a_row_of_each_form():
    rows = [measure(row, Options(recipe="int8")) for row in sources(["MLP", "Counter"], None)]
    files = sources(["digits_cnn"], FOLDER)
    rows += [measure(row, Options(recipe="int8")) for row in files]
    assert [row.form for row in rows] == ["torch", "onnx", "torch", "file"]
    for row in rows:
        assert row.error == "" and row.equal and row.macs_share == 1, row
        assert row.import_db > 100 and row.sqnr_db > 20 and 0 < row.time_share <= 1, row
    assert not rows[0].host


def row_of(mod, expected):
    inputs = inputs_of(mod)
    source = Source("one", "torch", lambda: Imported(mod, inputs, expected))
    return measure(source, Options(recipe="int8", arch="tiny-4x4"))


def test_a_wrong_import_shows():
    mod = model("onnx linear")
    right = run_llvm(mod, inputs_of(mod))
    assert row_of(mod, right).import_db == np.inf
    wrong = row_of(mod, [right[0] + 1])
    assert wrong.import_db < 20 and wrong.sqnr_db < 20 and wrong.equal
    assert cells(row_of(mod, right[:0]))[2] == "wrong"


def test_a_network_that_ends_at_nothing_is_rounded_all_the_same():
    def body(emit, x):
        y = emit(op.matmul(x, const(8, 4)))
        return emit(op.multiply(y, relax.const(1e-20, "float32")))

    mod = module(body, (3, 8))
    row = row_of(mod, run_llvm(mod, inputs_of(mod)))
    assert row.import_db == np.inf and 20 < row.sqnr_db < 60


def test_what_torch_cant_write_as_onnx_says_why(monkeypatch):
    def fail(*_, **__):
        try:
            raise ValueError("no function for it\nand more")
        except ValueError as error:
            raise torch.onnx.errors.OnnxExporterError("see the full trace above") from error

    monkeypatch.setattr(torch.onnx, "export", fail)
    (source,) = sources(["MLP"], None, "onnx")
    row = measure(source, Options())
    assert row.stage == "import"
    assert row.error == "torch can't write it as ONNX: no function for it"


def test_a_failure_is_a_row():
    def fail():
        raise mq.UnsupportedError("no way\nin")

    row = measure(Source("one", "file", fail), Options())
    assert (row.stage, row.error) == ("import", "no way\nin")
    assert cells(row)[2] == "import fails"
    text = page([row], "study", "int8", "tiny")
    assert "1 rows, of which 1 fail." in text and "| one | file | import | no way in |" in text


def test_products_and_time_on_the_host_count():
    def body(emit, x):
        # The array has no product of a tensor with itself.
        return emit(op.nn.softmax(emit(op.matmul(x, const(10, 8)))))

    mod = module(body, (3, 10))
    row = row_of(mod, run_llvm(mod, inputs_of(mod)))
    assert row.macs_share == 1 and row.time_share == 1 and 0 < row.latency_share < 1
    mod = module(lambda emit, x: emit(op.cumprod(emit(op.matmul(x, const(10, 8))))), (3, 10))
    row = row_of(mod, run_llvm(mod, inputs_of(mod)))
    assert row.macs_share == 1 and row.latency_share < row.time_share < 1


def test_words_of_the_table():
    assert [decibels(one) for one in (None, np.inf, -np.inf, 41.6)] == ["", "exact", "wrong", "42"]
    one = Row("a", "torch", host=(("nn.softmax", "no exponential", 2), ("check_indices3", "no", 1)))
    two = Row("b", "torch", host=(("nn.softmax", "no exponential", 1), ("check_indices", "no", 4)))
    assert reasons([one, two]) == [
        ("check_indices", "no", 5, "a, b"),
        ("nn.softmax", "no exponential", 3, "a, b"),
    ]
    assert cells(Row("a", "torch", macs_share=0.9999, equal=False))[3:6] == ("NO", "", "99.9")
