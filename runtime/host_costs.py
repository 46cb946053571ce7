"""What the host's functions cost a call, as a library says it by a function of no inputs.

The function returns `Costs` in JSON, as UTF-8 bytes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

NAME = "host.costs"
"""What that function is called."""
BUILTIN = "vm.builtin."
"""Begins the names of what the virtual machine does itself: views, memory, tuples. It's free."""
DYNAMIC = "vm.builtin.call_tir_dyn"
"""But this one runs a function whose sizes are known at run time, and which it doesn't name."""


class Cost(NamedTuple):
    """One call of a function.

    Attributes
    ----------
    operations : int or None
        Of one lane of the host's arithmetic; None where only bytes are known.
    macs : int
        Multiply-accumulates of products, which are operations too.
    bytes : int
        Read and written.
    """

    operations: int | None
    macs: int
    bytes: int


class Costs(NamedTuple):
    """Of what the host runs of a library.

    Attributes
    ----------
    functions : mapping of str to Cost
        Those that came as code.
    packed : mapping of str to int
        Bytes that packed functions are called with, the mean over the places that call them: for
        what is timed without a run.
    views : sequence of str
        Functions that give their argument another shape, and cost nothing.
    """

    functions: Mapping[str, Cost]
    packed: Mapping[str, int]
    views: Sequence[str]

    def is_free(self, name: str) -> bool:
        """Tell whether a function is what the virtual machine does itself, or a view."""
        return name in self.views or (name.startswith(BUILTIN) and name != DYNAMIC)


NO_COSTS = Costs({}, {}, ())
"""Of a library that says nothing: all is counted by the bytes that it is called with."""


def encoded(costs: Costs) -> np.ndarray:
    """Return costs as uint8 ``(bytes,)``."""
    return np.frombuffer(json.dumps(costs).encode(), np.uint8)


def decoded(array: np.ndarray) -> Costs:
    """Return the costs that `encoded` wrote."""
    functions, packed, views = json.loads(array.tobytes())
    return Costs({name: Cost(*row) for name, row in functions.items()}, packed, views)
