"""`Loop`: unrolled, where constants say how often its body runs."""

import numpy as np
import onnx

from .....target.errors import UnsupportedError
from .branches import inlined
from .facts import Facts
from .graph import attribute

ITERATIONS = 1024
"""More of them would be a graph that nobody wants to compile."""
STATE = "microscopiq.iterations"
"""Attribute of a loop that is partly unrolled: what the iterations before gave to be stacked."""


def unroll_loop(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto] | None:
    """Put one iteration in front of a loop; where it has run out, its results in its place.

    Raises
    ------
    UnsupportedError
        For a loop whose number of iterations isn't a constant, or is large.
    """
    body = attribute(node, "body")
    carried = list(node.input[2:])
    stacked = [text.decode() for text in attribute(node, STATE, [])]
    outputs = len(node.output) - len(carried)
    done = len(stacked) // outputs if outputs else attribute(node, f"{STATE}.done", 0)
    if not _goes_on(node, facts, done):
        return _results(node, carried, stacked, outputs, facts)
    if done >= ITERATIONS:
        raise UnsupportedError(
            f"Loop {node.name or node.output[0]}: it runs more than {ITERATIONS} times; "
            "only shorter ones are unrolled"
        )
    label = f"{node.output[0]}/{done}"
    count, going = facts.names.fresh(f"{label}/i"), facts.names.fresh(f"{label}/cond")
    facts.put(count, np.array(done, np.int64))
    facts.put(going, np.array(True))
    given = [count, going, *carried]
    inputs = {value.name: name for value, name in zip(body.input, given, strict=True)}
    nodes, results = inlined(body, inputs, facts, label)
    following = onnx.NodeProto()
    following.CopyFrom(node)
    following.input[:] = [node.input[0], results[0], *results[1 : 1 + len(carried)]]
    for name in (STATE, f"{STATE}.done"):
        for each in [each for each in following.attribute if each.name == name]:
            following.attribute.remove(each)
    if outputs:
        stacked += results[1 + len(carried) :]
        following.attribute.append(onnx.helper.make_attribute(STATE, stacked))
    following.attribute.append(onnx.helper.make_attribute(f"{STATE}.done", done + 1))
    return [*nodes, following]


def _goes_on(node: onnx.NodeProto, facts: Facts, done: int) -> bool:
    known = []
    for name, what in zip(node.input[:2], ("number of iterations", "condition"), strict=False):
        value = facts.array(name) if name else None
        if name and value is None:
            raise UnsupportedError(
                f"Loop {node.name or node.output[0]}: its {what} ({name}) is known at run time "
                "only; make what decides it a constant: --input-value NAME=VALUE "
                "(input_values={...})"
            )
        known.append(value)
    count, going = [*known, None][:2]
    return (count is None or done < int(count)) and (going is None or bool(going.all()))


def _results(node, carried, stacked, outputs, facts) -> list[onnx.NodeProto]:
    """Return nodes that give what the loop gives."""
    nodes = [
        onnx.helper.make_node("Identity", [value], [output])
        for value, output in zip(carried, node.output, strict=False)
        if output
    ]
    axis = facts.names.fresh(f"{node.output[0]}/axis")
    facts.put(axis, np.array([0], np.int64))
    for index, output in enumerate(node.output[len(carried) :]):
        if not output:
            continue
        rows = []
        for value in stacked[index::outputs]:
            rows.append(facts.names.fresh(f"{value}/row"))
            nodes.append(onnx.helper.make_node("Unsqueeze", [value, axis], [rows[-1]]))
        if not rows:
            raise UnsupportedError(
                f"Loop {node.name or node.output[0]}: it runs not even once, and {output} is empty"
            )
        nodes.append(onnx.helper.make_node("Concat", rows, [output], axis=0))
    return nodes
