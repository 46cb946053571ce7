"""What the machine does: simulator, sessions, results.

`load` brings the C++ core into the process. It registers the runtime module of kind
``microscopiq`` and these global functions of tvm_ffi:

``microscopiq.runtime.create(blob)``
    The module of a saved program (`target.isa.program.Program.to_bytes`).
``microscopiq.runtime.kernels()``, ``microscopiq.runtime.select_kernels(name)``
    Names of the inner-loop variants this CPU runs, best first, and the choice of one. All
    variants give equal values.
"""

import ctypes
import functools
from pathlib import Path

import tvm_ffi

from ..target import errors

LIBRARY = "libmicroscopiq_runtime.so"


@functools.lru_cache(maxsize=1)
def load() -> Path:
    """Load the C++ core once and return its path.

    Raises
    ------
    ConfigError
        If the library was not built.
    """
    # tvm_ffi raises these very classes for the kinds the core names.
    for name, cls in errors.BY_NAME.items():
        tvm_ffi.register_error(name, cls)
    # An editable install has two entries: the sources and the folder of built files.
    candidates = [Path(entry) / LIBRARY for entry in __path__]
    for path in candidates:
        if path.is_file():
            # Nothing but static registration: its objects must live as long as the process.
            ctypes.CDLL(str(path))
            return path
    tried = ", ".join(map(str, candidates))
    raise errors.ConfigError(
        f"{LIBRARY} not found: {tried}; allowed: an installed package "
        "(`pip install .` builds the library)"
    )
