"""compiler/passes/side_by_side.py: the bits of groups alone, in fewer cycles."""

import dataclasses

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq.compiler.driver import run_emit
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.compiler.kinds.registry import from_attribute
from microscopiq.compiler.operators import ATTRIBUTE
from microscopiq.compiler.passes.lower import quantized_functions, schedule_operators
from microscopiq.compiler.passes.side_by_side import side_by_side, together
from microscopiq.compiler.verify import run_reference, verify_layers
from microscopiq.runtime.session import Session
from microscopiq.target.arch import load_arch
from tests.compiler import relax_modules as make

ARCH = "microscopiq-64x64"


def operators(mod) -> dict:
    """Return the operators of a module by name."""
    found = [(gv.name_hint, str(f.attrs[ATTRIBUTE])) for gv, f in quantized_functions(mod)]
    return {name: from_attribute(text) for name, text in found}


def sizes(state) -> list[tuple[int, int, int, int]]:
    """Return groups, outputs, inputs and how many are side by side, of each convolution."""
    found = operators(state.placed).values()
    return [(o.conv_groups, o.n, o.k, o.side_by_side) for o in found if getattr(o, "conv", None)]


def mobile(emit, x):
    """A depthwise convolution with bias and bound, and a grouped one with a residual."""
    y = emit(op.clip(make.bias_4d(emit, make.conv(emit, x, 24, groups=24, padding=1)), 0, 6))
    return emit(op.add(make.conv(emit, y, 24, (1, 1), groups=3), y))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        # Of few pixels two planes of twelve groups are faster than four products of six.
        ("int8", [(2, 12, 108, 12), (1, 24, 24, 3)]),
        ("microscopiq-w4a8", [(2, 12, 108, 12), (1, 24, 24, 3)]),
    ],
)
def test_every_bit_in_fewer_cycles(recipe, expected):
    mod = make.module(mobile, (2, 24, 9, 8))
    state = make.compiled(mod, recipe, ARCH)
    assert sizes(state) == expected
    inputs = make.inputs_of(mod)
    run = Session(state.executable).run(*inputs)
    make.assert_equal_bits(run_reference(state, inputs), run.outputs)
    assert not any(check.different for check in verify_layers(state, inputs))
    alone = {name: function for name, function in operators(state.quantized).items()}
    assert set(alone) == set(operators(state.placed)) == set(make.operators_of(state.program))
    # What is 0 is no work, though the array's time goes by; weights and layers are the source's.
    assert run.macs == sum(o.macs for o in alone.values()) == 2 * 72 * 24 * (9 + 8)
    zeros = {call["name"]: call["zero_macs"] for call in run.calls if call["macs"]}
    assert zeros == {"mq_conv2d0": 11 * 2 * 72 * 24 * 9, "mq_conv2d1": 2 * 2 * 72 * 24 * 8}
    assert [row.work.conv_groups for row in state.layers.values() if row.work] == [24, 3]


def test_structural_mode_too():
    mod = make.module(lambda emit, x: make.conv(emit, x, 4, (2, 2), groups=4), (1, 4, 4, 4))
    state = make.compiled(mod, "microscopiq-w4a8", "microscopiq-8x8")
    assert sizes(state) == [(1, 4, 16, 4)]
    inputs = make.inputs_of(mod)
    fast, stepped = (
        Session(state.executable, mode=mode).run(*inputs) for mode in ("fast", "structural")
    )
    make.assert_equal_bits(fast.outputs, stepped.outputs)
    assert fast.cycles == stepped.cycles


def test_depthwise_takes_a_fifth_of_the_cycles():
    mod = make.module(lambda emit, x: make.conv(emit, x, 96, groups=96, padding=1), (1, 96, 14, 14))
    state = make.emitted(mod, "int8", ARCH, graph=False)
    alone = run_emit(run_schedule_apart(state))
    cycles = [program_cycles(each.program) for each in (alone, state)]
    assert cycles[1] < 0.2 * cycles[0]
    # 7 times 9 taps would fit 64 rows, but 96 groups are no sevens; one plane suits many pixels.
    assert sizes(state) == [(16, 6, 54, 6)]


def program_cycles(program) -> int:
    (record,) = time_functions(program)["mq_conv2d0"]
    return record["cycles"]


def run_schedule_apart(state):
    mod = state.quantized
    return dataclasses.replace(state, mod=mod, schedules=schedule_operators(mod, state.arch))


def test_groups_whose_scales_lie_far_apart_stay_apart():
    """One base exponent for both would take the larger sums out of 32 bits."""
    weight = make.numbers(4, 1, 3, 3) * np.float32([2.0**-12, 2.0**12] * 2).reshape(4, 1, 1, 1)

    def body(emit, x):
        return emit(op.nn.conv2d(x, relax.const(weight), groups=4))

    mod = make.module(body, (1, 4, 6, 6))
    assert sizes(make.emitted(mod, "int8", ARCH, graph=False)) == [(1, 4, 36, 4)]
    assert sizes(make.compiled(mod, "microscopiq-w4a8", ARCH)) == [(4, 1, 9, 1)]


@pytest.mark.parametrize(
    ("groups", "kernel", "arch"),
    [(4, (9, 9), ARCH), (4, (3, 3), "tiny-4x4"), (1, (3, 3), ARCH), (67, (3, 3), ARCH)],
    ids=["taps fill the rows", "small array", "one group", "no divisor"],
)
def test_what_cant_be_faster_is_as_it_was(groups, kernel, arch):
    mod = make.module(
        lambda emit, x: make.conv(emit, x, groups, kernel, groups=groups), (1, groups, 9, 9)
    )
    state = make.emitted(mod, "int8", arch)
    assert operators(state.placed) == operators(state.quantized)


def test_what_is_side_by_side_stays():
    mod = make.module(lambda emit, x: make.conv(emit, x, 8, groups=8), (1, 8, 6, 6))
    state = make.emitted(mod, "int8", ARCH, graph=False)
    again = side_by_side(state.placed, load_arch(ARCH))
    assert operators(again) == operators(state.placed)


def test_a_function_of_two_has_its_own_weights():
    """Functions share decoders, which are for one shape, and no layer."""
    builder = relax.BlockBuilder()
    for name, seed in (("main", 0), ("other", 1)):
        make.add_function(
            builder, name, lambda emit, x, seed=seed: make.conv(emit, x, 8, groups=8, seed=seed),
            (1, 8, 5, 5),
        )  # fmt: skip
    make.assert_right(builder.get(), functions=("main", "other"))


def test_together_counts_no_zero_as_work():
    mod = make.module(lambda emit, x: make.conv(emit, x, 12, groups=6), (1, 6, 5, 5))
    (alone,) = (o for o in operators(make.emitted(mod).quantized).values() if o.macs)
    for count in (1, 2, 3, 6):
        assert together(alone, count).macs == alone.macs
        assert together(alone, count).output_shape == alone.output_shape
