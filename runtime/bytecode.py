"""What the bytecode of a compiled model calls: known without a run, and so without inputs."""

from ..target.errors import InputError

STRAIGHT = ("call", "ret")
"""Instructions of the virtual machine after which the next one follows, or the caller's."""


def calls_of(module, function: str) -> list[str]:
    """Return the names of what one run of a function calls, in order, each as often as called.

    Functions of the model that it calls are taken apart in turn.

    Parameters
    ----------
    module : tvm.runtime.Module
        Of kind ``relax.VMExecutable``.

    Raises
    ------
    InputError
        For a function that isn't there, or one with branches: its calls depend on its inputs.
    """
    return _flattened(function, _functions(str(module["as_text"]())))


def _functions(text: str) -> dict[str, list[list[str]]]:
    """Return the instructions of each function, as words, from the listing that TVM prints."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        # Beside a function's instructions, indented, there is a line per packed function.
        if line.startswith("@") and line.endswith(":"):
            body = found[line[1:-1]] = []
        elif line.startswith(" "):
            body.append(line.split())
    return found


def _flattened(name: str, functions: dict[str, list[list[str]]]) -> list[str]:
    if name not in functions:
        raise InputError(f"no function '{name}' in the executable")
    found: list[str] = []
    for kind, *words in functions[name]:
        if kind not in STRAIGHT:
            raise InputError(
                f"the calls of '{name}' depend on its inputs ({kind.lower()}): run it instead"
            )
        if kind == "call":
            callee = words[0]
            found += _flattened(callee, functions) if callee in functions else [callee]
    return found
