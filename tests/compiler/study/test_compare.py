"""compiler/study/compare.py: what fp32 runs on."""

from tvm.relax import op

from microscopiq.compiler.study import compare
from microscopiq.compiler.study.compare import on_blas
from tests.compiler import relax_modules as make


def test_products_run_on_blas_as_the_array_has_them(monkeypatch):
    """A convolution of one dimension is one of two there, and a layer."""
    found = []

    def seen(mod, parts, *rest):
        found.extend(layer.kind for part in parts.values() for layer in part.layers)
        return runner(mod, parts, *rest)

    runner = compare.runner
    monkeypatch.setattr(compare, "runner", seen)
    weight = make.const(4, 3, 5)
    mod = make.module(lambda emit, x: emit(op.nn.conv1d(x, weight)), (2, 3, 9))
    inputs = make.inputs_of(mod)
    with on_blas(mod) as run:
        assert make.sqnr_db(make.run_llvm(mod, inputs)[0], run(inputs)[0]) > 110
    assert found == ["conv2d"]
