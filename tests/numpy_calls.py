"""A whole model's calls of its program, each run again by the NumPy reference."""

import numpy as np

from microscopiq.compiler.verify import RUN_ON
from microscopiq.runtime.reference.run import run
from microscopiq.runtime.session import Session
from microscopiq.target.arch import Arch


def check_calls(executable, inputs: list[np.ndarray], arch: Arch) -> int:
    """Run a model and assert that NumPy gives each call's results in every bit; return how many."""
    session = Session(executable)
    functions = session.program.functions
    seen = 0

    def instrument(_function, symbol, before_run, _result, *arguments):
        nonlocal seen
        if before_run or symbol not in functions:
            return RUN_ON
        tensors = [a.numpy() for a in arguments if hasattr(a, "numpy")]
        declared = functions[symbol].arguments
        again = [
            np.zeros_like(tensor) if argument.is_output else tensor.copy()
            for tensor, argument in zip(tensors, declared, strict=True)
        ]
        run(functions[symbol], arch, again)
        for have, want, argument in zip(tensors, again, declared, strict=True):
            # Between the tensors of a workspace nothing is written.
            if argument.is_output and argument.name != "workspace":
                np.testing.assert_array_equal(have.view(np.uint8), want.view(np.uint8), symbol)
        seen += 1
        return RUN_ON

    session.vm.set_instrument(instrument)
    session.run(*inputs)
    return seen
