"""What is changed, and the tests nearest to it, fastest first: `pytest` arguments."""

TARGET, QUANT, COMPILER, RUNTIME = (
    "tests/target/", "tests/compiler/quant/", "tests/compiler/", "tests/runtime/"
)  # fmt: skip

SOLVERS = tuple(f"{QUANT}test_{name}.py" for name in ("compensation", "damping", "solve"))

NEAREST: dict[str, tuple[str, ...]] = {
    "target/packing.py": (TARGET + "test_packing.py", TARGET + "test_clusters.py"),
    "target/weight.py": (TARGET + "test_packing.py", TARGET + "test_clusters.py"),
    "compiler/quant/compensation.py": SOLVERS,
    "compiler/quant/solve.py": SOLVERS,
    "compiler/quant/damping.py": SOLVERS,
    "compiler/tiling/cost.py": (COMPILER + "tiling", COMPILER + "estimate"),
    "compiler/tiling/legal.py": (COMPILER + "tiling", COMPILER + "emit/test_emit.py"),
    "compiler/tune/bound.py": (RUNTIME + "reports/test_roofline.py", COMPILER + "estimate"),
    "compiler/partition/*.py": (
        COMPILER + "partition/test_fusion.py",
        COMPILER + "partition/test_partition.py",
    ),
    "compiler/emit/planes.py": (
        COMPILER + "emit/test_planes.py",
        COMPILER + "emit/test_emit.py::test_where_breaks_are",
        COMPILER + "emit/test_emit.py::test_planes_alternate_and_breaks_leave_the_empty_ones_out",
    ),
    "runtime/src/timing/*.cc": (
        RUNTIME + "timing/test_cycles.py",
        RUNTIME + "timing/test_waits.py",
        RUNTIME + "timing/test_timing_only.py",
    ),
    "runtime/src/recon/*.cc": (
        RUNTIME + "recon",
        RUNTIME + "structural/test_by_hand.py",
        RUNTIME + "structural/test_array.py",
    ),
    "runtime/src/structural/*.cc": (
        RUNTIME + "structural/test_by_hand.py",
        RUNTIME + "structural/test_array.py",
        RUNTIME + "structural/test_temporal.py",
    ),
}

EQUIVALENT: dict[tuple[str, str], str] = {}
"""Changes that no test can notice, and why."""
