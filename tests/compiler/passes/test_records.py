"""compiler/passes/records.py: what users read of a module, and nothing of it lost on the way."""

import json

import pytest
import tvm

from microscopiq.compiler.passes.records import (
    Calibrated,
    HostOperator,
    LayerRecord,
    Records,
    Weights,
    Work,
    is_quantized,
    lowered_for,
    read_records,
    with_records,
)

WORK = Work(2, 1, 5, 6, 7, 2 * 5 * 6 * 7, ("bias", "clamp"), "gathered behind", "multiplied")
SIZES = {"batch": 2, "conv_groups": 1, "m": 5, "n": 6, "k": 7, "macs": 420}
CASES = {
    # A row has no key for what isn't known, but an unknown error on held-out rows is null.
    "quantize": (LayerRecord("rows", "quantize"), {"layer": "rows", "kind": "quantize"}),
    "two activations": (
        LayerRecord("qk", "attention", "int8 at run time", Work(2, 1, 5, 6, 7, 420, ())),
        {"layer": "qk", "kind": "attention", **SIZES, "weight_format": "int8 at run time",
         "fused": []},
    ),
    "calibrated": (
        LayerRecord("fc", "linear", "ms4", WORK,
                    Weights(42, 99, 18.857, {"outliers": 3}, Calibrated(0.25, 8, 2, 0.01))),
        {"layer": "fc", "kind": "linear", **SIZES, "weight_format": "ms4",
         "fused": ["bias", "clamp"], "output_order": "gathered behind", "migration": "multiplied",
         "weights": 42, "weight_bytes": 99, "bits_per_weight": 18.857, "counts": {"outliers": 3},
         "damping": 0.01, "held_out_error": 0.25, "calibration_rows": 8, "held_out_rows": 2},
    ),
    "host": (
        LayerRecord("fc", "conv2d", "uint4-g32",
                    weights=Weights(42, None, 5.0, {}, Calibrated(None, 8, 0))),
        {"layer": "fc", "kind": "conv2d", "weight_format": "uint4-g32", "weights": 42,
         "bits_per_weight": 5.0, "counts": {}, "held_out_error": None, "calibration_rows": 8,
         "held_out_rows": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rows_have_what_is_known_in_a_fixed_order(name):
    record, row = CASES[name]
    assert json.dumps(record.to_json()) == json.dumps(row)
    assert LayerRecord.from_json(json.loads(json.dumps(row))) == record


def test_a_module_gives_back_what_was_written():
    layers = {f"mq_{number}": record for number, (record, _) in enumerate(CASES.values())}
    host = (HostOperator("main", "nn.softmax", "no exponential", 2),)
    records = Records(layers, host, (CASES["host"][0],))
    mod = with_records(tvm.IRModule().with_attr("kept", "x"), records)
    again = tvm.ir.load_json(tvm.ir.save_json(mod))
    assert read_records(again) == records
    assert is_quantized(again) and str(again.attrs["kept"]) == "x"


def test_a_module_that_is_not_quantized_has_none():
    mod = tvm.IRModule()
    assert read_records(mod) == Records({}, ())
    assert not is_quantized(mod) and lowered_for(mod) == ""
