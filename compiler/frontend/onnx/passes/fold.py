"""One walk over a graph that computes what doesn't depend on its inputs."""

from collections import deque
from collections.abc import Callable

import numpy as np
import onnx

from .bodies import inline_body
from .branches import choose, take_branch
from .facts import Facts
from .graph import attribute, renamed, used
from .loops import unroll_loop
from .scans import unroll_scan

Rewrite = Callable[[onnx.NodeProto, Facts], list[onnx.NodeProto] | None]


def _drop_dropout(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto] | None:
    """Leave Dropout out: it does nothing but in training."""
    training = facts.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if len(node.output) > 1 or (len(node.input) > 2 and node.input[2] and training is None):
        return None
    if training is not None and training.any():
        return None
    return [onnx.helper.make_node("Identity", [node.input[0]], list(node.output), node.name)]


def _shape(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto] | None:
    """Compute shapes, and numbers of elements, from types instead of values."""
    shape = facts.shape(node.input[0])
    if shape is None:
        return None
    if node.op_type == "Shape":
        value = np.array(shape[attribute(node, "start", 0) : attribute(node, "end")], np.int64)
    else:
        value = np.array(np.prod(shape, dtype=np.int64))
    tensor = onnx.numpy_helper.from_array(value)
    return [onnx.helper.make_node("Constant", [], list(node.output), node.name, value=tensor)]


REWRITES: dict[str, Rewrite] = {
    "If": take_branch,
    "Loop": unroll_loop,
    "Scan": unroll_scan,
    "Dropout": _drop_dropout,
    "Shape": _shape,
    "Size": _shape,
    "microscopiq.Choose": choose,
}
"""What becomes of an operator, by its name: nodes that stand in its place, None if it stays. Any
other is opened if nothing converts it and ONNX defines it by others."""


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute constants and shapes, take branches and unroll loops that they decide.

    Importers want shapes, axes, pads and trip counts as constants; exporters compute them in the
    graph.
    """
    facts = Facts(model)
    outputs = {value.name for value in model.graph.output}
    aliases: dict[str, str] = {}
    work = deque(model.graph.node)
    nodes: list[onnx.NodeProto] = []
    while work:
        node = work.popleft()
        if not aliases.keys().isdisjoint(used(node)):
            node = renamed(node, aliases)
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        replaced = REWRITES.get(name, inline_body)(node, facts)
        if replaced is not None:
            work.extendleft(reversed(replaced))
            continue
        results = facts.evaluate(node)
        if results is not None and not outputs & set(node.output):
            for output, array in zip(node.output, results, strict=False):
                if output:
                    facts.put(output, array)
            continue
        if node.op_type == "Identity" and node.output[0] not in outputs:
            aliases[node.output[0]] = node.input[0]
            continue
        facts.infer(node)
        nodes.append(node)
    return _rebuilt(model, _named_as_outputs(nodes, outputs), facts)


def _named_as_outputs(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Give results the names of outputs that are copies of them, in place of the copies."""
    made = {name for node in nodes for name in node.output} - outputs
    names: dict[str, str] = {}
    for node in nodes:
        if node.op_type == "Identity" and node.input[0] in made:
            names.setdefault(node.input[0], node.output[0])
    if not names:
        return nodes
    copies = set(names.values())
    return [renamed(node, names) for node in nodes if copies.isdisjoint(node.output)]


def _rebuilt(model: onnx.ModelProto, nodes: list[onnx.NodeProto], facts: Facts) -> onnx.ModelProto:
    """Return the model with other nodes: those that its outputs need, and their constants."""
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= used(node)
    result = onnx.ModelProto()
    result.ir_version = model.ir_version
    result.opset_import.extend(model.opset_import)
    graph = result.graph
    graph.name = model.graph.name
    graph.node.extend(reversed(kept))
    graph.input.extend(model.graph.input)
    graph.initializer.extend(facts.constants[name] for name in facts.constants if name in needed)
    for value in model.graph.output:
        graph.output.add(name=value.name, type=facts.types.get(value.name, value.type))
    made = {name for node in kept for name in node.output}
    graph.value_info.extend(
        onnx.ValueInfoProto(name=name, type=facts.types[name])
        for name in made - {value.name for value in graph.output}
        if name in facts.types
    )
    return result
