"""What each operator is rewritten as, and what rewriting needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tvm import relax

from ...names import Names, digest
from ...partition.graph import Graph


@dataclass(frozen=True)
class Laid:
    """The result of a convolution that was rewritten, before its pixels are put in their places.

    Attributes
    ----------
    parts : tuple of tvm.relax.Expr
        Images with their channels in the second dimension.
    channels : tuple of numpy.ndarray
        Of each part: the result's channel, in its second dimension, that a channel belongs to.
    lay : callable
        Returns the result from such parts: what is done to each pixel may be done to them first.
    """

    parts: tuple
    channels: tuple[np.ndarray, ...]
    lay: Callable[[list], relax.Expr]


@dataclass
class Making:
    """Where a rewrite emits.

    Attributes
    ----------
    graph : Graph
        Of the function as it was; calls that are rewritten have its operands.
    names : Names
        Of parameters.
    renamed : dict
        The same of constants that were made of parameters.
    laid : dict of int to Laid
        Results of convolutions by the hash of the call that gave them.
    """

    builder: relax.BlockBuilder
    graph: Graph
    names: Names
    renamed: dict[str, Sequence[str]] = field(default_factory=dict)
    laid: dict[int, "Laid"] = field(default_factory=dict)

    def emit(self, expr):
        """Bind an expression to a new variable."""
        return self.builder.emit(expr)

    def laid_out(self, call: relax.Expr, made: Laid):
        """Return the result of a call from parts, and keep those for what follows it."""
        self.laid[hash(call)] = made
        return made.lay(list(made.parts))

    def constant(self, value: np.ndarray, source: np.ndarray):
        """Return a constant that goes by the name of what it was made of."""
        value = np.ascontiguousarray(value)
        names = self.names.get(digest(source)) or self.names.get(digest(source.T))
        if names:
            self.renamed[digest(value)] = names
        return relax.const(value)


Rewrite = Callable[[Making, relax.Call, list], "relax.Expr | None"]
"""Called as ``rewrite(making, call, args)`` with the call as it was and its new operands; returns
what computes the same, None to leave the call as it is."""
REWRITES: dict[str, Rewrite] = {}
"""By the operator's name."""


def rewrites(*names: str) -> Callable[[Rewrite], Rewrite]:
    """Register a function as the rewrite of operators."""

    def register(function: Rewrite) -> Rewrite:
        REWRITES.update(dict.fromkeys(names, function))
        return function

    return register
