"""MicroScopiQ: quantize a model, compile it for an outlier-aware array, simulate it exactly."""

import importlib
from typing import TYPE_CHECKING

from .target.errors import (
    BudgetError,
    CapacityError,
    ConfigError,
    InputError,
    IsaError,
    MicroscopiqError,
    SimError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from .compiler.api import (
        Calibration,
        Recipe,
        build,
        disassemble,
        export_library,
        load_model,
        quantize,
        weight_report,
    )
    from .compiler.tune.tuner import tune
    from .runtime.session import RunResult, Session

__version__ = "0.1.0"

__all__ = [
    "BudgetError",
    "Calibration",
    "CapacityError",
    "ConfigError",
    "InputError",
    "IsaError",
    "MicroscopiqError",
    "Recipe",
    "RunResult",
    "Session",
    "SimError",
    "UnsupportedError",
    "build",
    "disassemble",
    "export_library",
    "load_model",
    "quantize",
    "tune",
    "weight_report",
]

_HOMES = {
    "Calibration": ".compiler.api",
    "Recipe": ".compiler.api",
    "RunResult": ".runtime.session",
    "Session": ".runtime.session",
    "build": ".compiler.api",
    "disassemble": ".compiler.api",
    "export_library": ".compiler.api",
    "load_model": ".compiler.api",
    "quantize": ".compiler.api",
    "tune": ".compiler.tune.tuner",
    "weight_report": ".compiler.api",
}


def __getattr__(name: str):
    """Import what needs TVM at its first use: TVM takes seconds, `microscopiq --help` shouldn't."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    # TVM loads this backend; importing it first keeps that from nesting.
    importlib.import_module("tvm")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
