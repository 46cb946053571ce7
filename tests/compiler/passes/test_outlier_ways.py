"""Which way layers multiply their outliers: asked for, or by their share; the same bits."""

import dataclasses

import pytest
from tvm import relax

import microscopiq as mq
from microscopiq import Session
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.kinds.registry import from_attribute
from microscopiq.compiler.operators import ATTRIBUTE, FLAGGED_SHARE, Gemm
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.lower import quantized_functions
from microscopiq.compiler.tiling.legal import default_gemm_tile, legal_tiles
from microscopiq.compiler.tiling.tile import RECON, REPLAY
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import ConfigError
from microscopiq.target.isa import instructions as isa
from tests.compiler import relax_modules as make

BOTH = dataclasses.replace(
    load_arch("microscopiq-8x8"), replay_columns=16, weight_planes=3, weight_buses=2, row_release=1
)
RECIPES = ["microscopiq-w4a8", "microscopiq-w2a8"]


def heavy(*shape):
    """Return weights with outliers: cubes of bell-shaped ones."""
    return relax.const(make.numbers(*shape) ** 3)


def body(emit, x):
    y = emit(relax.op.nn.conv2d(x, heavy(20, 4, 3, 3), padding=1))
    return emit(relax.op.nn.conv2d(make.relu(emit, y), heavy(40, 20, 1, 1)))


MOD = make.module(body, (2, 4, 5, 5))
INPUTS = make.inputs_of(MOD)


def compiled(recipe=RECIPES[0], arch=BOTH, graph=True, **options):
    return compile_model(MOD, Options(recipe=recipe, arch=arch, graph=graph, **options))


def loads_of(state):
    """Return the kinds of loads that a program's functions have."""
    code = [each for function in state.program.functions.values() for each in function.code]
    return {type(each) for each in code if isinstance(each, isa.Preload | isa.PreloadReplay)}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("graph", [False, True])
def test_both_ways_in_one_program(graph, recipe):
    """Bits are those of LLVM in every mixture, cycles those of the stepped array."""
    first, second = compiled(recipe).outlier_ways
    expected = None
    for ways in (RECON, REPLAY, {first: REPLAY, second: RECON}, {first: RECON, second: REPLAY}):
        state = compiled(recipe, graph=graph, outliers=ways)
        names = dict.fromkeys((first, second), ways) if isinstance(ways, str) else ways
        assert state.outlier_ways == names
        kinds = {RECON: isa.Preload, REPLAY: isa.PreloadReplay}
        assert loads_of(state) == {kinds[way] for way in names.values()}
        fast, stepped = (
            Session(state.executable, mode=mode).run(*INPUTS) for mode in ("fast", "structural")
        )
        if expected is None:
            expected = make.run_llvm(state.quantized, INPUTS)
        make.assert_equal_bits(expected, fast.outputs)
        make.assert_equal_bits(fast.outputs, stepped.outputs)
        assert [call["cycles"] for call in fast.calls] == [call["cycles"] for call in stepped.calls]


def operators(state):
    found = [from_attribute(str(f.attrs[ATTRIBUTE])) for _, f in quantized_functions(state.placed)]
    return [op for op in found if isinstance(op, Gemm)]


def test_the_share_is_that_of_the_packed_weights():
    state = compiled()
    counts = [row.weights.counts for row in state.layers.values() if row.weights]
    assert all(count["flagged"] > 0 for count in counts)
    found = sorted(op.flagged for op in operators(state))
    exact = sorted(count["flagged"] / count["micro_blocks"] for count in counts)
    # Two classes in each octave.
    assert all(abs(a / b - 1) < 0.2 for a, b in zip(found, exact, strict=True))
    # Where there is nothing to choose, layers that differ in their outliers alone stay equal.
    assert {op.flagged for op in operators(compiled(arch=load_arch("microscopiq-8x8")))} == {None}


def test_the_share_decides():
    """Few micro-blocks with outliers are merged, many replayed: by what is estimated for each."""
    arch = dataclasses.replace(
        load_arch("microscopiq-64x64"), replay_columns=64, weight_buses=8, row_release=1,
        recon_units=8, recon_segment_columns=8, queue_depth=64,
    )  # fmt: skip
    op = Gemm(1, 1, 128, 1536, 384, "ms4")
    assert op.flagged_share == FLAGGED_SHARE
    ways = [
        default_gemm_tile(dataclasses.replace(op, flagged=share), arch).outliers
        for share in (0.01, 0.5)
    ]
    assert ways == [RECON, REPLAY]
    asked = dataclasses.replace(op, way=REPLAY)
    assert {tile.outliers for tile in legal_tiles(asked, arch)} == {REPLAY}


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"unknown way of outliers 'merge' \(allowed: auto, rec"):
        mq.build(MOD, BOTH, RECIPES[0], outliers="merge")
    message = r"layer '.*': microscopiq-8x8 can't multiply outliers by 'replay'; it can by: recon"
    with pytest.raises(ConfigError, match=message):
        compiled(arch=load_arch("microscopiq-8x8"), outliers="replay")
    with pytest.raises(ConfigError, match=r"no layer fits 'head.*'.*layers on the array: "):
        compiled(outliers={"head.*": "recon"})
    assert compiled(outliers="auto").outlier_ways == compiled().outlier_ways
