"""Products as the array knows them, made of those that models have.

A file has the operators of one family; importing this folder registers them.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
