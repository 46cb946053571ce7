"""What recipes tell activations apart by: roles that a layer's input may have."""

from collections.abc import Iterable, Sequence

from ...target.errors import unknown_name
from ...target.formats import ACTIVATION_FORMATS, GROUP_SIZE, WEIGHT_FORMATS

ROLES = {
    "attention": "both operands of a product of two activations",
    "inputs": "what comes from outside: inputs of the model, also moved, cut or padded",
    "nonnegative": "what can't be below 0 whatever the inputs: behind ReLU, softmax, sigmoid; "
    "of layers with weights",
}
"""By name, what has it. The first that a layer has and a recipe names is the one that counts."""
UNSIGNED_ROLE = "nonnegative"
"""Whose inputs may have a format without codes below 0."""


def role_mistakes(activation: str, by_role, rows: Sequence[dict]) -> list[str]:
    """Return what is wrong with a recipe's activation formats, that of all and those by role."""
    mistakes = _block_mistakes("activation", activation, rows)
    unsigned = {name for name, row in ACTIVATION_FORMATS.items() if not row.signed}
    if activation in unsigned:
        mistakes.append(
            f"activation = '{activation}' has no codes below 0: allowed as {UNSIGNED_ROLE} of "
            "[activations]"
        )
    if not isinstance(by_role, dict):
        return [*mistakes, f"activations = {by_role!r}: an [activations] table is needed"]
    if by_role and activation not in ACTIVATION_FORMATS:
        mistakes.append(f"[activations] go with formats of the array, not '{activation}'")
    for role, name in by_role.items():
        allowed = ACTIVATION_FORMATS.keys() - (unsigned if role != UNSIGNED_ROLE else set())
        if role not in ROLES:
            mistakes.append(unknown_name("role of activations", role, ROLES))
        elif name not in allowed:
            mistakes.append(unknown_name(f"activation format of {role}", str(name), allowed))
        elif role != "attention":
            mistakes += _block_mistakes(role, name, rows)
    return mistakes


def _block_mistakes(key: str, activation: str, rows: Iterable[dict]) -> list[str]:
    """Return which weight formats have other groups than the activations have blocks.

    A sum of integers ends where either's scale changes, and a panel ends with its format's group.
    """
    found = ACTIVATION_FORMATS.get(activation)
    if found is None or found.group == GROUP_SIZE:
        return []
    named = {str(row["weight_format"]) for row in rows if "weight_format" in row}
    others = sorted(
        name for name in named & WEIGHT_FORMATS.keys() if WEIGHT_FORMATS[name].group != found.group
    )
    allowed = [name for name, row in WEIGHT_FORMATS.items() if row.group == found.group]
    return [
        f"weight_format = '{name}' has groups of {WEIGHT_FORMATS[name].group} inputs beside "
        f"{key} = '{activation}' with blocks of {found.group}: allowed {', '.join(allowed)}"
        for name in others
    ]
