"""What the machine does: simulator, sessions, results.

`load` brings the C++ core into the process. It registers the runtime module of kind
``microscopiq`` and these global functions of tvm_ffi:

``microscopiq.runtime.create(blob)``
    The module of a saved program (`target.isa.program.Program.to_bytes`).
``microscopiq.runtime.kernels()``, ``microscopiq.runtime.select_kernels(name)``
    Names of the inner-loop variants this CPU runs, best first, and the choice of one. All
    variants give equal values.
``microscopiq.runtime.switch_commands(columns)``
    ReCoN's commands for (upper, lower, upper, lower, ...) columns of a micro-block: ``commands``
    by pass, rank and column, and ``entering``, by pass the mask of columns whose values enter.
``microscopiq.runtime.recon_plan(rows, cols, strip_columns, ranks, units, visits)``
    When rows with outliers, (strip, row, passes, ...), visit ReCoN, and how long a product takes.
``microscopiq.runtime.add_format(name, numbers, values)``
    A weight format that the core wasn't built with, for this process: `format_numbers` of
    `target.isa.gen`, and the integers of its codes.
``microscopiq.runtime.set_debug(on)``
    Debug mode of every module that wasn't told by its own ``microscopiq.set_debug(on)``; returns
    what it was. `set_debug` calls it.
"""

import ctypes
import functools
import os
from pathlib import Path

from ..target import errors

LIBRARY = "libmicroscopiq_runtime.so"
DEBUG_VARIABLE = "MICROSCOPIQ_SIM_DEBUG"
"""Set to 1 in the environment, it starts a process in debug mode."""


@functools.lru_cache(maxsize=1)
def load() -> Path:
    """Load the C++ core once and return its path.

    Raises
    ------
    ConfigError
        If the library was not built.
    """
    # With torch installed it takes seconds, which checks of files and names don't need.
    import tvm_ffi

    # tvm_ffi raises these very classes for the kinds the core names.
    for name, cls in errors.BY_NAME.items():
        tvm_ffi.register_error(name, cls)
    # An editable install has two entries: the sources and the folder of built files.
    candidates = [Path(entry) / LIBRARY for entry in __path__]
    for path in candidates:
        if path.is_file():
            # Nothing but static registration: its objects must live as long as the process.
            ctypes.CDLL(str(path))
            if os.environ.get(DEBUG_VARIABLE) == "1":
                tvm_ffi.get_global_func("microscopiq.runtime.set_debug")(True)
            return path
    tried = ", ".join(map(str, candidates))
    raise errors.ConfigError(
        f"{LIBRARY} not found: {tried}; allowed: an installed package "
        "(`pip install .` builds the library)"
    )


def set_debug(on: bool) -> bool:
    """Turn debug mode on or off for this process and return what it was.

    In debug mode the simulator also refuses to read what nothing wrote in the same call, and two
    units that touch the same bytes (or weight plane) in no defined order. Values and cycles stay
    the same. A `Session` that was told `debug` keeps to that.
    """
    import tvm_ffi

    load()
    return bool(tvm_ffi.get_global_func("microscopiq.runtime.set_debug")(on))
