"""Counts what a virtual machine leaves to the host, in a run or without one."""

from collections.abc import Sequence

from ..target.arch import DEFAULT_ARCH, Arch, load_arch
from ..target.errors import InputError
from ..target.isa.program import Program
from .host_costs import DYNAMIC, NAME, NO_COSTS, Costs, decoded
from .results.host import Called, HostRun, Rates, calls_in_order, host_run


class HostClock:
    """What the functions of a virtual machine cost its host.

    The virtual machine tells a counter in C++ of each call, which takes it 0.3 us: what a branch
    leaves out isn't counted, and what a loop repeats is each time.

    Parameters
    ----------
    vm : tvm.relax.VirtualMachine
    program : Program or None
        What the machine runs; its architecture has the host's rates.
    arch : Arch, optional
        Has them without a program; `DEFAULT_ARCH` unless given.
    """

    def __init__(self, vm, program: Program | None, arch: Arch | None = None):
        import tvm

        numbers = program.arch_numbers if program else (arch or load_arch(DEFAULT_ARCH)).numbers()
        self._rates = Rates.of(numbers)
        self._machine = list(program.functions) if program else []
        self._costs = _costs_of(vm)
        counter = tvm.get_global_func("microscopiq.runtime.call_counter")
        note, self._take = counter(self._machine, list(self._costs.views))
        vm.set_instrument(note)

    def start(self) -> None:
        """Forget what a run left that failed."""
        self._take()

    def stop(self) -> HostRun:
        """Return what ran on the host since the start."""
        *rows, handovers = self._take()
        called = [Called(str(name), int(calls), int(moved)) for name, calls, moved in rows]
        return host_run(called, int(handovers), self._costs, self._rates)

    def without_run(self, calls: Sequence[str]) -> HostRun:
        """Return what calls in order cost the host.

        Raises
        ------
        InputError
            For a function whose sizes are known at run time only.
        """
        if DYNAMIC in calls:
            raise InputError("sizes of tensors depend on inputs: run it instead")
        called = calls_in_order(calls, self._machine, self._costs)
        return host_run(*called, self._costs, self._rates)


def _costs_of(vm) -> Costs:
    """Return what the library of a virtual machine says of its functions."""
    if not vm.module.implements_function(NAME):
        return NO_COSTS
    return decoded(vm[NAME]().numpy())
