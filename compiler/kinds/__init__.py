"""Kinds of operators: what each computes, how it is tiled, scheduled and emitted.

Importing this package registers every kind that has a file in it.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
