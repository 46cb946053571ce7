"""State of a compiled model: values that one call of a function leaves for the next.

A function takes them as its last inputs, each named as the function of no inputs that gives its
first value, and returns them, changed, as its last results in the same order. So a library says by
itself what it keeps, and without a session a caller can do the same::

    state = [vm["state.cache"]()]
    *results, state[0] = vm["main"](x, *state)
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

PREFIX = "state."
"""What names of state begin with, as inputs and as functions; the source's name follows."""


def state_among(inputs: Sequence[str], is_function: Callable[[str], bool]) -> list[str]:
    """Return those names of a function's inputs that are state."""
    return [name for name in inputs if name.startswith(PREFIX) and is_function(name)]


class State:
    """Values by name: first ones until a call has left others.

    Parameters
    ----------
    first : callable
        Called as ``first(name)``: the value that a name starts with.
    """

    def __init__(self, first: Callable[[str], object]):
        self._first = first
        self._values: dict[str, object] = {}

    def reset(self) -> None:
        """Go back to the first values."""
        self._values.clear()

    def take(self, names: Iterable[str]) -> list:
        """Return the values of some names in order, without a copy."""
        return [self._values[name] if name in self._values else self._first(name) for name in names]

    def keep(self, names: Sequence[str], outputs):
        """Keep the last of a call's results, one for each name; return the others."""
        if not names:
            return outputs
        results = list(outputs)
        self._values |= dict(zip(names, results[-len(names) :], strict=True))
        return results[: -len(names)]

    def arrays(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return copies of values by the source's names."""
        names = list(names)
        values = zip(names, self.take(names), strict=True)
        return {name.removeprefix(PREFIX): value.numpy() for name, value in values}
