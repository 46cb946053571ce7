"""What torch computes, to hold an import against."""

import copy

import numpy as np

from ....target.errors import ConfigError


def source_case(program) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return a program's example inputs and what it gives for them, from the state it has.

    Raises
    ------
    ConfigError
        For a program without example inputs.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    if program.example_inputs is None:
        raise ConfigError(
            "the exported program has no example inputs to check its import with; export it again"
        )
    args, kwargs = copy.deepcopy(program.example_inputs)
    inputs = [_array(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    with torch.no_grad():
        # What it changes, it changes in the copy.
        outputs = copy.deepcopy(program.module())(*args, **kwargs)
    return inputs, [_array(one) for one in tree_leaves(outputs) if isinstance(one, torch.Tensor)]


def _array(value) -> np.ndarray:
    half = str(value.dtype) in ("torch.float16", "torch.bfloat16")
    return (value.float() if half else value).detach().cpu().numpy().copy()
