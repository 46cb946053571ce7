"""Names of constants: importers drop them, a hash of the content finds them again."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import tvm

NAMES = "microscopiq.names"
"""Module attribute: JSON of parameter names by content digest, from the frontend."""
SYMBOL = "mq_"
"""What the names of functions begin with that passes make."""
CHECK = "check_indices"
"""What the names of functions begin with that check indices: no operators of the model."""
CHECKED = "microscopiq.indices"
"""Attribute of the PrimFuncs that check indices, by an assertion: their results are right.

JSON of `sizes`, whether `negative` ones count from the end, and what it is an index `of`.
"""


def digest(value: np.ndarray) -> str:
    """Return a key for a constant's content, by which a frontend's names find it again."""
    return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:24]


Names = Mapping[str, Sequence[str]]
"""Parameter names by `digest` of the values: several where parameters are equal, in their order."""


def with_names(mod: tvm.IRModule, names: Names) -> tvm.IRModule:
    """Return a module that carries parameter names."""
    return mod.with_attr(NAMES, json.dumps(names))


def read_names(mod: tvm.IRModule) -> dict[str, list[str]]:
    """Return a module's parameter names, none of a module without them."""
    return json.loads(str(mod.attrs[NAMES])) if mod.attrs and NAMES in mod.attrs else {}
