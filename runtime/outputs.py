"""What the outputs of a compiled model are called, as the model's source calls them.

A library says it by a function of no inputs for each of the model's, `outputs.main` for `main`: it
returns the names as UTF-8 bytes of JSON.
"""

import json
from collections.abc import Sequence

import numpy as np

PREFIX = "outputs."
"""What the names of such functions begin with; the name of the model's function follows."""


def encoded(names: Sequence[str]) -> np.ndarray:
    """Return names as uint8 ``(bytes,)``."""
    return np.frombuffer(json.dumps(list(names)).encode(), np.uint8)


def decoded(array: np.ndarray) -> list[str]:
    """Return the names that `encoded` wrote."""
    return json.loads(array.tobytes())
