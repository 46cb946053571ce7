"""What is changed, and the tests nearest to it, fastest first: `pytest` arguments."""

TARGET, QUANT, COMPILER, RUNTIME = (
    "tests/target/", "tests/compiler/quant/", "tests/compiler/", "tests/runtime/"
)  # fmt: skip

SOLVERS = tuple(f"{QUANT}test_{name}.py" for name in ("compensation", "damping", "solve"))

GIVEN = COMPILER + "frontend/test_quantized.py"
"""Models that come quantized."""

INTEGERS = COMPILER + "passes/integer_only/"
"""Models in integers alone."""

NEAREST: dict[str, tuple[str, ...]] = {
    "target/packing.py": (TARGET + "test_packing.py", TARGET + "test_clusters.py"),
    "target/weight.py": (TARGET + "test_packing.py", TARGET + "test_clusters.py"),
    "target/diagonal.py": (TARGET + "test_diagonal.py",),
    "target/layouts.py": (TARGET + "test_layouts.py",),
    "compiler/study/block_noise.py": (COMPILER + "study/test_block_noise.py",),
    "compiler/partition/roles.py": (COMPILER + "partition/test_roles.py",),
    "compiler/quant/roles.py": (QUANT + "test_roles.py", QUANT + "test_recipe.py"),
    "compiler/passes/side_by_side.py": (COMPILER + "passes/test_side_by_side.py",),
    "compiler/passes/products/*.py": (COMPILER + "passes/test_products.py",),
    "compiler/quant/compensation.py": SOLVERS,
    "compiler/quant/solve.py": SOLVERS,
    "compiler/quant/damping.py": SOLVERS,
    "compiler/passes/integer_only/*.py": (INTEGERS + "test_kernels.py", INTEGERS),
    "compiler/passes/integer_only/rules/*.py": (INTEGERS + "test_rules.py", INTEGERS),
    "compiler/passes/vectorize/bounds.py": (COMPILER + "vectorize/test_bounds.py",),
    "compiler/tiling/cost.py": (COMPILER + "tiling", COMPILER + "estimate"),
    "compiler/tiling/legal.py": (COMPILER + "tiling", COMPILER + "emit/test_emit.py"),
    "compiler/tune/bound.py": (
        COMPILER + "tune/test_bound.py",
        RUNTIME + "reports/test_roofline.py",
    ),
    "compiler/partition/given.py": (GIVEN, "tests/e2e/test_given_weights.py"),
    "compiler/partition/dequantized.py": (GIVEN, "tests/e2e/test_given_weights.py"),
    "compiler/partition/integers.py": (COMPILER + "passes/integers", GIVEN),
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

COMPENSATION, PACKING = "compiler/quant/compensation.py", "target/packing.py"
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        COMPENSATION,
        "`factor, failed = scipy.linalg.lapack.spotrf("
        "matrix.T, lower=0, clean=1, overwrite_a=1)` -> "
        "`factor, failed = scipy.linalg.lapack.spotrf("
        "matrix.T, lower=0, clean=1, overwrite_a=2)`",
    ): "any true value is as good",
    (
        COMPENSATION,
        "`values[k] = grid.quantize(k - first, target[None])[0]` -> "
        "`values[k] = grid.quantize(k - first, target[None])[-1]`",
    ): "there is one row",
    (
        COMPENSATION,
        "`values[k] = grid.quantize(k - first, target[k : k + 1])[0]` -> "
        "`values[k] = grid.quantize(k - first, target[k : k + 1])[-1]`",
    ): "there is one row",
    (
        PACKING,
        "`entries = np.where(pairs[..., 0] >= 0, pairs[..., 0] << 3 | pairs[..., 1], 0)` -> "
        "`entries = np.where(pairs[..., 1] >= 0, pairs[..., 0] << 3 | pairs[..., 1], 0)`",
    ): "both locations are -1, or none is",
    ("runtime/src/structural/array.cc", "`strip_of_.clear();` -> `;`"): "an array runs once",
    (
        "runtime/src/timing/timing.cc",
        "`Push(unit, {Kind::kWork, 0, 0, std::move(work), origin_});` -> "
        "`Push(unit, {Kind::kWork, 1, 0, std::move(work), origin_});`",
    ): "work has no semaphore",
    ("runtime/src/timing/timing.cc", "`state.stale = false;` -> `;`"): "a head is found again",
    (
        PACKING,
        '`bits = np.unpackbits(dense, axis=1, bitorder="little").reshape(rows, -1, row.bits)` -> '
        '`bits = np.unpackbits(dense, axis=1, bitorder="little").reshape(rows, -2, row.bits)`',
    ): "NumPy takes any negative length for the one to find",
}
"""Changes that no test can notice, and why."""
