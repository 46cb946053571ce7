"""What is changed, and the tests nearest to it, fastest first: `pytest` arguments."""

TARGET, QUANT, COMPILER, RUNTIME = (
    "tests/target/", "tests/compiler/quant/", "tests/compiler/", "tests/runtime/"
)  # fmt: skip

METHODS = tuple(
    f"{QUANT}{test}"
    for test in (
        "test_methods.py::test_too_little_damping_is_refused_and_the_search_passes_it_by",
        "test_methods.py::test_calibration_lowers_the_error_on_rows_nobody_has_seen",
        "test_methods.py::test_calibration_on_uncorrelated_inputs_does_no_harm",
        "test_contract.py::test_options_keep_the_contract_and_change_something",
    )
)
NEAREST: dict[str, tuple[str, ...]] = {
    "target/packing.py": (TARGET + "test_packing.py", TARGET + "test_clusters.py"),
    "compiler/quant/compensation.py": METHODS,
    "compiler/quant/solve.py": METHODS,
    "compiler/quant/damping.py": METHODS,
    "compiler/tiling/cost.py": (COMPILER + "tiling", COMPILER + "estimate"),
    "compiler/tiling/legal.py": (COMPILER + "tiling", COMPILER + "emit/test_emit.py"),
    "compiler/tune/bound.py": (RUNTIME + "reports/test_roofline.py", COMPILER + "estimate"),
    "compiler/passes/partition.py": (COMPILER + "passes/test_partition.py",),
    "compiler/emit/planes.py": (COMPILER + "emit/test_emit.py",),
    "runtime/src/timing/*.cc": (RUNTIME + "timing", RUNTIME + "recon"),
    "runtime/src/recon/*.cc": (RUNTIME + "recon", RUNTIME + "structural"),
    "runtime/src/structural/*.cc": (RUNTIME + "structural",),
}

EQUIVALENT: dict[tuple[str, str], str] = {}
"""Changes that no test can notice, and why."""
