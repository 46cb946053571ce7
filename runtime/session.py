"""Runs an executable and collects what its program cost."""

import dataclasses
import json
import struct
import threading
import weakref
from pathlib import Path

import numpy as np

from ..target.arch import Arch, load_arch
from ..target.errors import ConfigError, InputError, last_line, unknown_name
from ..target.isa.program import Program
from ..target.technology import Technology, load_technology
from .arguments import arrays, refusal, tensor, type_text, widened
from .budget import budget_of
from .bytecode import calls_of
from .host_clock import HostClock
from .outputs import PREFIX as OUTPUTS
from .outputs import decoded
from .reports.trace import write_trace
from .results.result import RunResult, total
from .sizes import PREFIX as SIZES
from .sizes import Table, check_sizes
from .sizes import decoded as decoded_sizes
from .state import State, state_among
from .whole_file import check_folder

KIND = "microscopiq"
SUFFIXES = (".so", ".dylib", ".dll", ".tar")
"""What `export_library` writes and TVM loads."""
MODES = ("fast", "structural")
"""How a session computes the array's products: arithmetic, or stepping PEs and switches."""

_locks: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
"""By native module, as long as any session has it: one run at a time."""
_locks_lock = threading.Lock()


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
    """Return the loaded module of a path, a `VMExecutable` or a module.

    Raises
    ------
    InputError
        For a file that is no exported program, and for anything else.
    """
    if isinstance(executable, str | Path):
        path = check_program_file(executable)
        import tvm

        try:
            return tvm.runtime.load_module(str(path.resolve()))
        except (RuntimeError, OSError, ValueError) as error:
            first = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: not an exported program: {first}") from error
    import tvm

    module = getattr(executable, "mod", executable)
    if not isinstance(module, tvm.runtime.Module):
        hint = "; `build` compiles a module" if isinstance(module, tvm.IRModule) else ""
        raise InputError(
            f"given {type(executable).__name__}; allowed: what `build` returned, or a file that "
            f"export_library wrote{hint}"
        )
    return module


def check_program_file(path: str | Path) -> Path:
    """Return the path of a file that can be an exported program, as far as is known without TVM.

    Raises
    ------
    InputError
        For a file that is missing, of another kind, or cut.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"program file not found: {path}")
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: not an exported program; allowed: a file that export_library or "
            "`microscopiq compile` wrote (.so or .tar)"
        )
    _check_complete(path)
    return path


def program_of(module) -> Program | None:
    """Return the program that a loaded module carries, None when nothing is accelerated."""
    native = find_native(module)
    return None if native is None else Program.from_bytes(bytes(native["microscopiq.blob"]()))


class Session:
    """Runs functions of a compiled model.

    Threads may share a session, or have sessions of their own over one executable: runs of one
    executable follow each other. Those of executables that were loaded or built apart run at the
    same time, and only these gain from threads.

    Ctrl-C ends a run within a second, in both modes; the session can run again.

    A model's state, such as a cache that it fills, goes from call to call, and from one function
    to the others that have it; a run that fails leaves it as it was.

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
    max_cycles, max_instructions, max_stepped_cycles : int, optional
        Budget of a run (`runtime.budget.Budget`), 0 for no limit. None: `FILE_BUDGET` for a
        path, no limit for other executables.

    Raises
    ------
    ConfigError
        When the program was built for another architecture, for an unknown mode, when its
        technology isn't found, or for a budget below 0.
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
        max_cycles: int | None = None,
        max_instructions: int | None = None,
        max_stepped_cycles: int | None = None,
    ):
        if mode not in MODES:
            raise ConfigError(unknown_name("simulator mode", mode, MODES))
        self.budget = budget_of(
            executable,
            max_cycles=max_cycles,
            max_instructions=max_instructions,
            max_stepped_cycles=max_stepped_cycles,
        )
        machine = None if arch is None else load_arch(arch)
        table = None if technology is None else load_technology(technology)
        self.module = load_executable(executable)
        self.native = find_native(self.module)
        self.program = program_of(self.module)
        if machine is not None and self.program is not None:
            _check_arch(self.program, machine)
        self.mode = mode
        self.debug = debug
        self._lock = _lock_of(self.native)
        if table is None and self.program is not None:
            table = load_technology(self.program.technology)
        self.technology = table
        import tvm

        try:
            self.vm = tvm.relax.VirtualMachine(self.module, tvm.cpu())
        except AttributeError as error:
            what = executable if isinstance(executable, str | Path) else type(executable).__name__
            raise InputError(
                f"{what}: holds no compiled model: {last_line(error)}; allowed: what `build` "
                "returned or `export_library` wrote"
            ) from error
        self._host = HostClock(self.vm, self.program, machine)
        self._state = State(lambda name: self.vm[name]())

    def input_names(self, function: str = "main") -> list[str]:
        """Return the names of a function's inputs, in order, without its state.

        Raises
        ------
        InputError
            For a function that the executable doesn't have.
        """
        names = self._parameters(function)
        return names[: len(names) - len(self._state_names(names))]

    def output_names(self, function: str = "main") -> list[str]:
        """Return what the model's source calls a function's outputs, nothing where it doesn't."""
        name = OUTPUTS + function
        if not self.vm.module.implements_function(name):
            return []
        with self._lock:
            return decoded(self.vm[name]().numpy())

    def sizes(self, function: str = "main") -> Table | None:
        """Return which sizes a function's inputs may have, None of one for known shapes."""
        name = SIZES + function
        if not self.vm.module.implements_function(name):
            return None
        with self._lock:
            return decoded_sizes(self.vm[name]().numpy())

    def state(self, function: str = "main") -> dict[str, np.ndarray]:
        """Return copies of what a function keeps from call to call, by the source's names."""
        with self._lock:
            return self._state.arrays(self._state_names(self._parameters(function)))

    def reset(self) -> None:
        """Set the state of all functions back to what the model came with."""
        with self._lock:
            self._state.reset()

    def _parameters(self, function: str) -> list[str]:
        try:
            count = int(self.vm.module["get_function_arity"](function))
        except (RuntimeError, ValueError, AttributeError) as error:
            raise InputError(f"no function '{function}' in the executable") from error
        name_of = self.vm.module["get_function_param_name"]
        return [str(name_of(function, index)) for index in range(count)]

    def _state_names(self, parameters: list[str]) -> list[str]:
        return state_among(parameters, self.vm.module.implements_function)

    def run(self, *inputs, function: str = "main", trace: str | Path | None = None) -> RunResult:
        """Run a function on the simulator.

        Parameters
        ----------
        inputs : numpy.ndarray, torch.Tensor or tvm.runtime.Tensor
            In the order of the model's inputs, of the compiled shapes and dtypes. A dimension that
            was symbolic may be of any size up to its bound.
        trace : str or Path, optional
            File for the timeline (`runtime.trace`): JSON that Perfetto opens, compressed if the
            name ends in .gz.

        Raises
        ------
        InputError
            For a number of inputs, a shape or a dtype other than the compiled one, and for a
            timeline of a model that has no program.
        ConfigError
            When the timeline can't be written.
        SimError
            For a program that does something illegal.
        BudgetError
            For a run that takes more than its budget.
        """
        self._check_trace(trace)
        names = self.input_names(function)
        if len(inputs) != len(names):
            raise InputError(
                f"{function} takes {len(names)} input(s) ({', '.join(names)}); given {len(inputs)}"
            )
        given = {name: tensor(name, value) for name, value in zip(names, inputs, strict=True)}
        if (table := self.sizes(function)) is not None:
            check_sizes(table, given)
        kept = self._state_names(self._parameters(function))
        with self._lock:
            self._prepare(trace is not None)
            self._host.start()
            try:
                outputs = self._call(function, given, self._state.take(kept))
            finally:
                # The module outlives this call, and spans would pile up in it.
                if self.native is not None:
                    self.native["microscopiq.set_trace"](False)
            results = arrays(self._state.keep(kept, outputs))
            host = self._host.stop()
            result = total(self._records(), self.program, self.technology, results, host)
            result = dataclasses.replace(result, output_names=self.output_names(function))
            if trace is not None and self.native is not None and self.program is not None:
                spans = [bytes(raw) for raw in self.native["microscopiq.traces"]()]
                self.native["microscopiq.reset"]()  # frees the core's copy
                write_trace(trace, self.program, result.calls, spans)
        return result

    def _call(self, function: str, given: dict, state: list):
        while True:
            try:
                return self.vm[function](*given.values(), *state)
            except (RuntimeError, ValueError, TypeError) as error:
                # It is refused before anything runs, so a second try costs nothing.
                wider = widened(error, given)
                if wider is None:
                    types = {name: type_text(value) for name, value in given.items()}
                    raise InputError(f"{function}: {refusal(error, types)}") from error
                given = wider

    def _prepare(self, trace: bool) -> None:
        """Tell the native module, which sessions of one executable share, how to run."""
        if self.native is None:
            return
        self.native["microscopiq.set_mode"](self.mode)
        self.native["microscopiq.set_debug"](self.debug)
        self.native["microscopiq.set_budget"](*dataclasses.astuple(self.budget))
        self.native["microscopiq.reset"]()
        self.native["microscopiq.set_trace"](trace)

    def time(self, function: str = "main") -> RunResult:
        """Return what one call of a function of the model costs, without inputs.

        Cycles, counts and calls are those of `run`, on the host as well; of sizes that a call
        decides, for the largest. The result has no outputs and no saturations.

        Raises
        ------
        InputError
            For a function that the executable doesn't have, or whose calls depend on its inputs.
        """
        names = calls_of(self.module, function)
        host = self._host.without_run(names)
        if self.native is None or self.program is None:
            return total([], None, None, host=host)
        program = self.program
        called = [name for name in names if name in program.functions]
        with self._lock:
            self._prepare(False)
            for name in dict.fromkeys(called):
                self.native["microscopiq.time"](name)
            records: dict[str, list[dict]] = {}
            for record in self._records():
                records.setdefault(record["function"], []).append(record)
        parts = [record for name in called for record in records[name]]
        return total(parts, program, self.technology, host=host)

    def _records(self) -> list[dict]:
        """Return what the core counted, a record per call."""
        if self.native is None:
            return []
        return json.loads(str(self.native["microscopiq.stats"]()))

    def _check_trace(self, trace: str | Path | None) -> None:
        """Raise before a long run if its timeline can't be written."""
        if trace is not None:
            if self.program is None or not self.program.functions:
                raise InputError("no timeline: nothing of this model runs on the array")
            check_folder(trace)


def _lock_of(native):
    """Return the lock of a native module, the same for all sessions that share it."""
    lock = threading.RLock()
    if native is None:
        return lock
    with _locks_lock:
        return _locks.setdefault(native.__chandle__(), lock)


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
