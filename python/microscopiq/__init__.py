"""MicroScopiQ: quantize a model, compile it for an outlier-aware array, simulate it exactly."""

import tvm  # noqa: F401  (TVM loads this backend; importing it first keeps that from nesting)

from .compiler.api import build, disassemble, export_library, load_model, quantize
from .runtime.session import RunResult, Session
from .target.errors import (
    CapacityError,
    ConfigError,
    InputError,
    IsaError,
    MicroscopiqError,
    SimError,
    UnsupportedError,
)

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "ConfigError",
    "InputError",
    "IsaError",
    "MicroscopiqError",
    "RunResult",
    "Session",
    "SimError",
    "UnsupportedError",
    "build",
    "disassemble",
    "export_library",
    "load_model",
    "quantize",
]
