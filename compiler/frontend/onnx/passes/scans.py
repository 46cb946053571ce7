"""`Scan`: its steps one after another, as many as its inputs have entries."""

import numpy as np
import onnx

from .....target.errors import UnsupportedError
from .branches import inlined
from .facts import Facts
from .graph import attribute
from .loops import ITERATIONS


def unroll_scan(node: onnx.NodeProto, facts: Facts) -> list[onnx.NodeProto] | None:
    """Put the body of a scan in its place, once for each entry of what it goes through.

    Raises
    ------
    UnsupportedError
        For a length that isn't known while compiling, or a large one.
    """
    body = attribute(node, "body")
    scanned = node.input[-attribute(node, "num_scan_inputs") :]
    states = list(node.input[: len(node.input) - len(scanned)])
    shape = facts.shape(scanned[0])
    axes = attribute(node, "scan_input_axes", [0] * len(scanned))
    where = f"Scan {node.name or node.output[0]}"
    if facts.version(node) < 9 or shape is None:
        raise UnsupportedError(f"{where}: its number of steps isn't known while compiling")
    steps = shape[axes[0]]
    if not 0 < steps <= ITERATIONS:
        raise UnsupportedError(f"{where}: it has {steps} steps; allowed: 1 to {ITERATIONS}")
    backward = attribute(node, "scan_input_directions", [0] * len(scanned))
    nodes: list[onnx.NodeProto] = []
    rows: list[list[str]] = []
    for step in range(steps):
        label = f"{node.output[0]}/{step}"
        entries = []
        for name, axis, turned in zip(scanned, axes, backward, strict=True):
            place, entry = facts.names.fresh(f"{label}/place"), facts.names.fresh(f"{label}/{name}")
            facts.put(place, np.array(steps - 1 - step if turned else step, np.int64))
            nodes.append(onnx.helper.make_node("Gather", [name, place], [entry], axis=axis))
            entries.append(entry)
        given = zip(body.input, [*states, *entries], strict=True)
        inner, results = inlined(body, {value.name: name for value, name in given}, facts, label)
        nodes += inner
        states = results[: len(states)]
        rows.append(results[len(states) :])
    nodes += [
        onnx.helper.make_node("Identity", [value], [output])
        for value, output in zip(states, node.output, strict=False)
        if output
    ]
    outputs = node.output[len(states) :]
    return nodes + _stacked(node, outputs, list(zip(*rows, strict=True)), facts)


def _stacked(node, outputs, columns, facts: Facts) -> list[onnx.NodeProto]:
    """Return nodes that put the steps' results beside each other along a new axis."""
    nodes = []
    axes = attribute(node, "scan_output_axes", [0] * len(outputs))
    backward = attribute(node, "scan_output_directions", [0] * len(outputs))
    for output, column, axis, turned in zip(outputs, columns, axes, backward, strict=True):
        if not output:
            continue
        place = facts.names.fresh(f"{output}/axis")
        facts.put(place, np.array([axis], np.int64))
        rows = [facts.names.fresh(f"{value}/row") for value in column]
        nodes += [
            onnx.helper.make_node("Unsqueeze", [value, place], [row])
            for value, row in zip(column, rows, strict=True)
        ]
        rows = rows[::-1] if turned else rows
        nodes.append(onnx.helper.make_node("Concat", rows, [output], axis=axis))
    return nodes
