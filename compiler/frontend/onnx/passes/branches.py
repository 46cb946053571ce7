"""`If`: the branch that a constant decides, or both and a choice between their results."""

import numpy as np
import onnx

from .....target.errors import UnsupportedError
from .facts import Facts
from .graph import attribute, defined, renamed

CHOOSE = "Choose"
OURS = "microscopiq"
"""Domain of a node that stands between passes for a choice whose two shapes are to be compared."""


def inlined(graph: onnx.GraphProto, inputs: dict[str, str], facts: Facts, label: str):
    """Return an inner graph's nodes under names of their own, and the names of its results.

    Parameters
    ----------
    inputs : dict of str to str
        What stands for the graph's own inputs.
    label : str
        In front of the new names.
    """
    # Graphs beside one another may use the same names.
    own = defined(graph) - set(inputs)
    names = inputs | {name: facts.names.fresh(f"{label}/{name}") for name in sorted(own) if name}
    for tensor in graph.initializer:
        facts.put_tensor(names[tensor.name], tensor)
    nodes = [renamed(node, names) for node in graph.node]
    return nodes, [names.get(value.name, value.name) for value in graph.output]


def take_branch(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto]:
    """Put the branch that a constant decides in the place of `If`, else both and a choice.

    Branches have no effects, so that computing both is right, and what is in them reaches the
    array as the rest of the graph does.
    """
    condition = facts.array(node.input[0])
    if condition is not None:
        branch = attribute(node, "then_branch" if condition.all() else "else_branch")
        nodes, results = inlined(branch, {}, facts, node.output[0])
        return nodes + [
            onnx.helper.make_node("Identity", [result], [output])
            for result, output in zip(results, node.output, strict=True)
        ]
    both, chosen = [], []
    for which in ("then_branch", "else_branch"):
        nodes, results = inlined(attribute(node, which), {}, facts, f"{node.output[0]}/{which}")
        both += nodes
        chosen.append(results)
    return both + [
        onnx.helper.make_node(
            CHOOSE, [node.input[0], then, other], [output], node.name, domain=OURS
        )
        for then, other, output in zip(*chosen, node.output, strict=True)
    ]


def choose(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto]:
    """Choose between the results of two branches, which must have one shape."""
    condition, then, other = node.input
    shapes = facts.shape(then), facts.shape(other)
    if shapes[0] is None or shapes[0] != shapes[1]:
        texts = ["unknown" if shape is None else list(shape) for shape in shapes]
        raise UnsupportedError(
            f"If {node.name or node.output[0]}: its condition is known at run time only, and its "
            f"branches give different shapes for {node.output[0]}: {texts[0]} and {texts[1]}; "
            "make what decides it a constant: --input-value NAME=VALUE (input_values={...})"
        )
    if facts.shape(condition) == ():
        return [onnx.helper.make_node("Where", list(node.input), list(node.output), node.name)]
    scalar, shape = (facts.names.fresh(f"{node.output[0]}/{end}") for end in ("if", "shape"))
    facts.put(shape, np.array([], np.int64))
    return [
        onnx.helper.make_node("Reshape", [condition, shape], [scalar]),
        onnx.helper.make_node("Where", [scalar, then, other], list(node.output), node.name),
    ]
