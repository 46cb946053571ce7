"""compiler/passes/graph/runs.py: few runs, and never a binding before what it needs."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from microscopiq.compiler.passes.graph.runs import Run, runs

TENSOR = relax.TensorType((2,), "float32")


@st.composite
def blocks(draw):
    """Draw bindings in order, each of some earlier ones; whether it is on the host."""
    bindings, kinds = [], []
    for number in range(draw(st.integers(1, 12))):
        earlier = [b.var for b in bindings]
        needs = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else []
        var = relax.Var(f"v{number}", TENSOR)
        bindings.append(SimpleNamespace(var=var, value=relax.Tuple(needs), needs=needs))
        view = len(needs) == 1 and draw(st.booleans())
        kinds.append("view" if view else draw(st.sampled_from(["host", "call"])))
    return bindings, {b.var: kind for b, kind in zip(bindings, kinds, strict=True)}


@settings(max_examples=60)
@given(blocks())
def test_an_order_that_data_allow_with_maximal_runs(drawn):
    bindings, kinds = drawn
    steps = runs(bindings, lambda b: kinds[b.var] == "call", lambda b: kinds[b.var] == "view")
    flat = [b for step in steps for b in (step.bindings if isinstance(step, Run) else [step])]
    assert {b.var for b in flat} == {b.var for b in bindings} and len(flat) == len(bindings)
    done = set()
    for each in flat:
        assert set(each.needs) <= done
        done.add(each.var)
    found = [step for step in steps if isinstance(step, Run)]
    for step in found:
        assert all(kinds[b.var] in ("call", "view") for b in step.bindings)
    # As many runs as calls follow each other at most with the host in between.
    depth = {}
    for b in bindings:
        below = [depth[var] for var in b.needs]
        turns, host = max(below, default=(0, False))
        if kinds[b.var] == "call":
            depth[b.var] = (turns + 1 if host or not turns else turns, False)
        else:
            depth[b.var] = (turns, host or (kinds[b.var] == "host" and turns > 0))
    assert len(found) == max(turns for turns, _ in depth.values())
