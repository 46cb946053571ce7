"""Runs an executable and collects what its program cost."""

import json
import re
import struct
from pathlib import Path

import numpy as np

from ..target.arch import Arch, load_arch
from ..target.errors import ConfigError, InputError, unknown_name
from ..target.formats import BY_CODE
from ..target.isa.instructions import Preload, PreloadRows
from ..target.isa.program import Function, Program
from ..target.technology import Technology, load_technology
from .energy import call_energy
from .result import RunResult, total

KIND = "microscopiq"
SUFFIXES = (".so", ".dylib", ".dll", ".tar")
"""What `export_library` writes and TVM loads."""
MODES = ("fast", "structural")
"""How a session computes the array's products: arithmetic, or stepping PEs and switches."""


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
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"{path}: not an exported program; allowed: a file that export_library or "
                "`microscopiq compile` wrote (.so or .tar)"
            )
        _check_complete(path)
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
    mode : str
        ``"fast"``; or ``"structural"``: every PE, every ReCoN switch and FIFO of the array is
        stepped cycle by cycle. Values and cycles are equal, which is what the slow mode is for.
    debug : bool, optional
        Also refuse reads of what nothing wrote and units that meet in no defined order; values
        and cycles stay the same, the run takes about three times as long. None: as
        `runtime.set_debug` says, at first no.
    technology : str, Path or Technology, optional
        Table of energies, if not that of the program's architecture.

    Raises
    ------
    ConfigError
        When the program was built for another architecture, for an unknown mode, or when its
        technology isn't found.
    InputError
        For a file that is no exported program.
    """

    def __init__(
        self,
        executable,
        arch: str | Path | Arch | None = None,
        mode: str = "fast",
        *,
        debug: bool | None = None,
        technology: str | Path | Technology | None = None,
    ):
        import tvm

        if mode not in MODES:
            raise ConfigError(unknown_name("simulator mode", mode, MODES))
        self.module = load_executable(executable)
        self.native = find_native(self.module)
        self.program = program_of(self.module)
        if arch is not None and self.program is not None:
            _check_arch(self.program, load_arch(arch))
        self.mode = mode
        if debug is not None and self.native is not None:
            self.native["microscopiq.set_debug"](debug)
        if technology is None and self.program is not None:
            technology = self.program.technology
        self.technology = None if technology is None else load_technology(technology)
        try:
            self.vm = tvm.relax.VirtualMachine(self.module, tvm.cpu())
        except AttributeError as error:
            what = executable if isinstance(executable, str | Path) else type(executable).__name__
            raise InputError(
                f"{what}: holds no compiled model: {_last_line(error)}; allowed: what `build` "
                "returned or `export_library` wrote"
            ) from error

    def input_names(self, function: str = "main") -> list[str]:
        """Return the names of a function's inputs, in order.

        Raises
        ------
        InputError
            For a function that the executable doesn't have.
        """
        try:
            count = int(self.vm.module["get_function_arity"](function))
        except (RuntimeError, ValueError, AttributeError) as error:
            raise InputError(f"no function '{function}' in the executable") from error
        name_of = self.vm.module["get_function_param_name"]
        return [str(name_of(function, index)) for index in range(count)]

    def run(self, *inputs, function: str = "main") -> RunResult:
        """Run a function on the simulator.

        Parameters
        ----------
        inputs : numpy.ndarray, torch.Tensor or tvm.runtime.Tensor
            In the order of the model's inputs, of the compiled shapes and dtypes.

        Raises
        ------
        InputError
            For a number of inputs, a shape or a dtype other than the compiled one.
        SimError
            For a program that does something illegal.
        """
        names = self.input_names(function)
        if len(inputs) != len(names):
            raise InputError(
                f"{function} takes {len(names)} input(s) ({', '.join(names)}); given {len(inputs)}"
            )
        tensors = [_tensor(name, value) for name, value in zip(names, inputs, strict=True)]
        if self.native is not None:
            # Sessions of one executable share its native module.
            self.native["microscopiq.set_mode"](self.mode)
            self.native["microscopiq.reset"]()
        try:
            outputs = self.vm[function](*tensors)
        except (RuntimeError, ValueError, TypeError) as error:
            given = {name: _type(t) for name, t in zip(names, tensors, strict=True)}
            raise InputError(f"{function}: {_refusal(error, given)}") from error
        return total(self._calls(), _arrays(outputs), self._clock(), self._peaks())

    def _calls(self) -> list[dict]:
        if self.native is None or self.program is None or self.technology is None:
            return []
        calls = json.loads(str(self.native["microscopiq.stats"]()))
        for call in calls:
            call["energy_pj"] = call_energy(call, self.program.arch_numbers, self.technology)
        return calls

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


def _check_complete(path: Path) -> None:
    """Refuse a cut ELF file: the loader would die of SIGBUS on the pages that are missing."""
    with path.open("rb") as file:
        head = file.read(64)
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
        return
    # The linker writes the table of sections last.
    (offset,) = struct.unpack_from("<Q", head, 0x28)
    entry_bytes, count = struct.unpack_from("<HH", head, 0x3A)
    wanted, there = offset + entry_bytes * count, path.stat().st_size
    if wanted > there:
        raise InputError(
            f"{path}: damaged: {there} bytes of a file that needs at least {wanted}; "
            "copy or export it again"
        )


def _tensor(name: str, value):
    import tvm

    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) or np.isscalar(value):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise InputError(f"input '{name}': numbers are needed, given an array of {array.dtype}")
        return tvm.runtime.tensor(np.ascontiguousarray(array).reshape(array.shape))
    if not hasattr(value, "dtype"):
        raise InputError(
            f"input '{name}': given {type(value).__name__}; allowed: numpy.ndarray, torch.Tensor, "
            "tvm.runtime.Tensor"
        )
    return value


def _type(tensor) -> str:
    return f"{tensor.dtype}{list(map(int, tensor.shape))}"


_ANNOTATION = re.compile(r'param=([^,]+), annotation=R\.Tensor\(\((.*?),?\), dtype="(\w+)"\)')


def _refusal(error: Exception, given: dict[str, str]) -> str:
    """Return TVM's complaint about an input in our words, in its own when it's another one."""
    found = _ANNOTATION.search(str(error))
    if found and found[1] in given:
        name, shape, dtype = found.groups()
        return f"input '{name}' must be {dtype}[{shape}]; given {given[name]}"
    return f"refused its inputs ({', '.join(given.values())}): {_last_line(error)}"


def _arrays(outputs) -> list[np.ndarray]:
    """Return a tensor, or the leaves of nested tuples, as arrays."""
    if hasattr(outputs, "numpy"):
        return [outputs.numpy()]
    return [array for item in outputs for array in _arrays(item)]


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
