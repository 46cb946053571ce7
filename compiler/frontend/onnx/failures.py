"""Nodes that can't be imported, and what the user reads about them: all of them at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

SHOWN = 3
"""Nodes named of each kind of failure; the others are counted."""
ELSEWHERE = {
    "com.microsoft": "ONNX Runtime's optimizer writes it: give the model as it was before",
    "ai.onnx.ml": "trees, encoders and the like aren't for an array: cut the model before them",
}
"""What to do about operators of other domains."""


@dataclass(frozen=True)
class Failure:
    """A node that can't be imported.

    Attributes
    ----------
    operator, node : str
    reason : str
    """

    operator: str
    node: str
    reason: str


def node_name(node: onnx.NodeProto) -> str:
    """Return what a user finds a node by: its name, else its first output's."""
    return node.name or next((name for name in node.output if name), "without a name")


def no_converter(operator: str, known: Iterable[str]) -> str:
    """Return why an operator without a converter fails, and what is nearest to it."""
    domain, _, kind = operator.rpartition(".")
    if hint := ELSEWHERE.get(domain):
        return f"it has no converter; {hint}"
    near = difflib.get_close_matches(operator, sorted(known), n=2, cutoff=0.7)
    if not near and kind != operator:
        near = [kind] if kind in set(known) else []
    return "it has no converter" + (f"; the nearest that has: {' and '.join(near)}" if near else "")


def listing(where: str, failures: Sequence[Failure]) -> str:
    """Return the message for nodes that can't be imported, grouped by operator and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in failures:
        groups.setdefault((each.operator, each.reason), []).append(each.node)
    lines = [f"{where}: {len(failures)} node(s) can't be imported:"]
    for (operator, reason), nodes in groups.items():
        named = ", ".join(nodes[:SHOWN]) + (", ..." if len(nodes) > SHOWN else "")
        count = f"{len(nodes)} x " if len(nodes) > 1 else ""
        lines.append(f"  {count}{operator} ({named}): {reason}")
    return "\n".join(lines)
