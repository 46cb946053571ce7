"""Sizes of a compiled model that a call decides: what its inputs' shapes may be.

A library says it by a function of no inputs for each of the model's, `sizes.main` for `main`: it
returns UTF-8 bytes of JSON.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from ..target.errors import InputError

PREFIX = "sizes."
"""What the names of such functions begin with; the name of the model's function follows."""

Table = Mapping[str, Mapping]
"""`bounds`: the least and the largest by size; `inputs`: the extents by input, a number, a size's
name, or null where it's more than one."""


def encoded(bounds: Mapping[str, Sequence[int]], inputs: Mapping[str, Sequence]) -> np.ndarray:
    """Return a table as uint8 ``(bytes,)``."""
    return np.frombuffer(json.dumps({"bounds": bounds, "inputs": inputs}).encode(), np.uint8)


def decoded(array: np.ndarray) -> Table:
    """Return the table that `encoded` wrote."""
    return json.loads(array.tobytes())


def check_sizes(table: Table, given: Mapping) -> None:
    """Raise InputError for tensors, by input, whose shapes are those of no allowed sizes.

    What no size is in, the virtual machine checks.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, extents in table["inputs"].items():
        shape = tuple(map(int, given[name].shape))
        if len(shape) != len(extents):
            continue
        for axis, (extent, size) in enumerate(zip(extents, shape, strict=True)):
            if not isinstance(extent, str):
                continue
            least, most = table["bounds"][extent]
            if not least <= size <= most:
                raise InputError(
                    f"input '{name}', dimension {axis} ('{extent}'): {size}; allowed: {least} to "
                    f"{most}"
                )
            first, where = found.setdefault(extent, (size, name))
            if first != size:
                raise InputError(
                    f"'{extent}' is {first} in input '{where}' and {size} in input '{name}'; "
                    "allowed: the same in both"
                )
