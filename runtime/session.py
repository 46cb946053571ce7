"""Runs an executable and collects what its program cost."""

import json
from pathlib import Path

import numpy as np

from ..target.arch import Arch, load_arch
from ..target.errors import ConfigError, InputError
from ..target.formats import BY_CODE
from ..target.isa.instructions import Preload, PreloadRows
from ..target.isa.program import Function, Program
from .result import RunResult, total

KIND = "microscopiq"


def find_native(module):
    """Return the runtime module of kind `microscopiq` among a module's imports, or None."""
    if module.kind == KIND:
        return module
    for imported in module.imports:
        found = find_native(imported)
        if found is not None:
            return found
    return None


def load_executable(executable):
    """Return the loaded module of a path, a `VMExecutable` or a module."""
    import tvm

    if isinstance(executable, str | Path):
        path = Path(executable)
        if not path.is_file():
            raise InputError(f"program file not found: {path}")
        try:
            return tvm.runtime.load_module(str(path.resolve()))
        except (RuntimeError, OSError, ValueError) as error:
            first = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: not an exported program: {first}") from error
    return getattr(executable, "mod", executable)


def program_of(module) -> Program | None:
    """Return the program that a loaded module carries, None when nothing is accelerated."""
    native = find_native(module)
    return None if native is None else Program.from_bytes(bytes(native["microscopiq.blob"]()))


class Session:
    """Runs functions of a compiled model.

    Parameters
    ----------
    executable : tvm.relax.VMExecutable, tvm.runtime.Module, str or Path
        What `build` returned, or a file that `export_library` wrote.
    arch : str, Path or Arch, optional
        Machine that the caller means to simulate: a program built for another is refused.

    Raises
    ------
    ConfigError
        When the program was built for another architecture.
    InputError
        For a file that is no exported program.
    """

    def __init__(self, executable, arch: str | Path | Arch | None = None):
        import tvm

        self.module = load_executable(executable)
        self.native = find_native(self.module)
        self.program = program_of(self.module)
        if arch is not None and self.program is not None:
            _check_arch(self.program, load_arch(arch))
        self.vm = tvm.relax.VirtualMachine(self.module, tvm.cpu())

    def run(self, *inputs, function: str = "main") -> RunResult:
        """Run a function on the simulator.

        Parameters
        ----------
        inputs : numpy.ndarray, torch.Tensor or tvm.runtime.Tensor
            In the order of the model's inputs, of the compiled shapes and dtypes.

        Raises
        ------
        InputError
            For a shape or dtype other than the compiled one.
        SimError
            For a program that does something illegal.
        """
        tensors = [_tensor(value) for value in inputs]
        if self.native is not None:
            self.native["microscopiq.reset"]()
        try:
            outputs = self.vm[function](*tensors)
        except (RuntimeError, ValueError, TypeError) as error:
            given = ", ".join(f"{t.dtype}{list(map(int, t.shape))}" for t in tensors)
            raise InputError(
                f"{function} refused its inputs ({given}): {_last_line(error)}"
            ) from error
        calls = []
        if self.native is not None:
            calls = json.loads(str(self.native["microscopiq.stats"]()))
        return total(calls, _arrays(outputs), self._clock(), self._peaks())

    def _clock(self) -> int:
        return self.program.arch_numbers["clock_mhz"] if self.program else 1

    def _peaks(self) -> dict[str, int]:
        if self.program is None:
            return {}
        numbers = self.program.arch_numbers
        return {
            name: peak_macs(function, numbers) for name, function in self.program.functions.items()
        }


def peak_macs(function: Function, numbers: dict[str, int]) -> int:
    """Return the multiply-accumulates per cycle of the array in a function's weight format."""
    bits = numbers["pe_weight_bits"]
    for instruction in function.code:
        if isinstance(instruction, Preload):
            bits = BY_CODE[instruction.format].bits
        elif isinstance(instruction, PreloadRows):
            bits = 8
    columns = numbers["array_cols"]
    if numbers["multi_precision"]:
        columns = columns * numbers["pe_weight_bits"] // bits
    return numbers["array_rows"] * columns


def _check_arch(program: Program, arch: Arch) -> None:
    if program.arch_hash != arch.hash:
        raise ConfigError(
            f"the program was built for {program.arch_name} ({program.arch_hash}); "
            f"{arch.name} ({arch.hash}) was asked for; rebuild it for that architecture"
        )


def _tensor(value):
    import tvm

    if isinstance(value, np.ndarray):
        return tvm.runtime.tensor(np.ascontiguousarray(value))
    if hasattr(value, "detach"):
        return tvm.runtime.tensor(np.ascontiguousarray(value.detach().cpu().numpy()))
    if np.isscalar(value):
        return tvm.runtime.tensor(np.asarray(value))
    return value


def _arrays(outputs) -> list[np.ndarray]:
    """Return a tensor, or the leaves of nested tuples, as arrays."""
    if hasattr(outputs, "numpy"):
        return [outputs.numpy()]
    return [array for item in outputs for array in _arrays(item)]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
