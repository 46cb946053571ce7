"""The table of rules: by operator, what gives its result in integers."""

from collections.abc import Callable

from tvm import relax

from ..codes import Codes
from ..emission import Emission

Rule = Callable[[Emission, relax.Var, relax.Call], Codes | list[Codes]]
"""Takes what the source's variable is bound to; an operator of several results gives a list."""
RULES: dict[str, Rule] = {}
"""By operator."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what becomes of operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register
