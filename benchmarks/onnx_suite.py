"""The node tests of onnx.backend.test, and what the machine makes of one."""

import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

PASSED = ("array", "host")
"""Results of tests that pass: with products on the array, or with none that it could run."""
RECIPE = "int8"
ALL, PART = "all", "part"
"""How much of a test runs on the machine: all of its operators, or not all."""
LEAST_DB = 20.0
"""Of results that went through 8-bit operands, against the wanted ones."""


def node_tests() -> dict[str, Any]:
    """Return the tests by name; they hold models, inputs and wanted outputs."""
    import onnx.backend.test.loader

    with warnings.catch_warnings():
        # The suite divides by zero on purpose while it makes its data.
        warnings.simplefilter("ignore")
        return {test.name: test for test in onnx.backend.test.loader.load_model_tests(kind="node")}


def operators(tests: Mapping[str, Any]) -> dict[str, str]:
    """Return the operator that each test is of; tests of a definition are of what it defines."""
    named = {}
    for name, test in tests.items():
        of = tests.get(re.sub("_expanded.*", "", name), test)
        node = of.model.graph.node[-1]
        named[name] = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return named


def verdict(test: Any) -> dict[str, str]:
    """Return ``result`` (array, host, refused or fails), and the ``reason`` of the latter two.

    Of tests that pass also how much of them the ``machine`` runs.
    """
    from microscopiq.target.errors import UnsupportedError

    words = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(words):
            warnings.simplefilter("ignore")
            result, alone = _run(test)
            return {"result": result, "machine": ALL if alone else PART}
    except UnsupportedError as error:
        return {"result": "refused", "reason": short(error)}
    except Exception as error:
        return {"result": "fails", "reason": f"{type(error).__name__}: {short(error)}"}


def _run(test: Any) -> tuple[str, bool]:
    """Return where a test's products ran, and whether all of its operators ran on the machine."""
    import tvm  # noqa: F401  (it loads this backend)

    from microscopiq.compiler.onnx_backend import MicroscopiqBackend
    from microscopiq.target.errors import ConfigError

    try:
        return _judged(MicroscopiqBackend.prepare(test.model, recipe=RECIPE), test)
    except ConfigError as error:
        # Such a model takes no recipe.
        if "the model comes quantized" not in str(error):
            raise
        return _judged(MicroscopiqBackend.prepare(test.model), test)


def _judged(model: Any, test: Any) -> tuple[str, bool]:
    on_array, alone = False, True
    for inputs, wanted in test.data_sets:
        result = model.simulate(inputs)
        found = tuple(result.outputs)
        assert model.compilation is not None
        alone &= bool(result.calls) and not model.compilation.host
        on_array = any(record.macs for record in model.compilation.layers.values())
        try:
            compare(found, wanted, test.rtol, test.atol)
        except AssertionError:
            if not on_array:
                raise
            compare(model.run_source(inputs), wanted, test.rtol, test.atol)
            for one, other, want in zip(found, model.run_reference(inputs), wanted, strict=True):
                np.testing.assert_array_equal(one, other)
                assert sqnr_db(want, one) > LEAST_DB, "the machine is far from the wanted values"
    return "array" if on_array else "host", alone


def compare(found: Any, wanted: Any, rtol: float, atol: float) -> None:
    """Raise AssertionError unless outputs have the wanted dtypes, shapes and values."""
    assert len(found) == len(wanted), f"{len(found)} outputs, {len(wanted)} are wanted"
    for one, want in zip(found, map(array, wanted), strict=True):
        assert one.dtype == want.dtype, f"an output is {one.dtype}, {want.dtype} is wanted"
        assert one.shape == want.shape, f"an output is {one.shape}, {want.shape} is wanted"
        if want.dtype.kind in "fcV":
            ours, theirs = one.astype(np.float64), want.astype(np.float64)
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(one, want)


def array(value: Any) -> np.ndarray:
    """Return what a test wants as an array; some of it is a tensor of ONNX."""
    import onnx

    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value)


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return 10 log10 of the power of what is wanted over that of the error.

    What is no finite number has to be the same in both.
    """
    finite = np.isfinite(wanted.astype(np.float64))
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True):
        return -np.inf
    wanted, found = wanted[finite].astype(np.float64), found[finite]
    noise = float(np.square(wanted - found).sum())
    signal = float(np.square(wanted).sum())
    return 10 * np.log10(signal / noise) if noise else np.inf


def short(error: Exception) -> str:
    """Return the end of what an error says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[-160:] if lines else ""
