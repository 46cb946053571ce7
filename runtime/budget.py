"""How long a run may go on before it ends with a `BudgetError`."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..target.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """The most that the calls of one run may take together; 0: no limit.

    `max_cycles` are the machine's, `max_instructions` those that its sequencer dispatches, and
    `max_stepped_cycles` those for which structural mode steps the array: every product alone,
    then all of a call together, mostly some times the call's own cycles.
    """

    max_cycles: int = 0
    max_instructions: int = 0
    max_stepped_cycles: int = 0


FILE_BUDGET = Budget(1_000_000_000, 50_000_000, 100_000_000)
"""Of programs that come from a file, which may be damaged or mean harm: each is reached within
minutes. The largest model of docs/models.md takes 1,900,494 cycles."""


def budget_of(executable, **asked: int | None) -> Budget:
    """Return the budget of an executable's runs; None asks for what is usual.

    That is `FILE_BUDGET` for a path, and no limit for what this process compiled.

    Raises
    ------
    ConfigError
        For a number below 0 or of another type.
    """
    for name, value in asked.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise ConfigError(f"{name} = {value!r}; allowed: an integer from 1, or 0 for no limit")
    usual = FILE_BUDGET if isinstance(executable, str | Path) else Budget()
    return dataclasses.replace(usual, **{n: v for n, v in asked.items() if v is not None})
