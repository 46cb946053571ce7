"""runtime/src/guard.cc, runtime/budget.py: a budget ends a run, and so does Ctrl-C."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tvm_ffi

from microscopiq import Session, export_library, runtime
from microscopiq.runtime.budget import FILE_BUDGET, Budget, budget_of
from microscopiq.target.arch import load_arch
from microscopiq.target.errors import BudgetError, ConfigError, SimError
from microscopiq.target.isa import instructions as isa
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Mem
from microscopiq.target.packing import pack
from tests.compiler import relax_modules as make
from tests.runtime.gemm_program import at, random_weight

create = runtime.load() and tvm_ffi.get_global_func("microscopiq.runtime.create")
TINY, SMALL = load_arch("tiny-4x4"), load_arch("microscopiq-8x8")


def clips(turns: int) -> Function:
    """One `loop`, a `clip` and an `endloop` each turn, `end`; a cycle for each clip and the end."""
    code = (isa.Loop(turns), isa.Clip(0, 1, 1, at()), isa.EndLoop(), isa.End())
    return Function("clips", "", (), code)


def stepped(turns: int, name: str = "int4") -> Function:
    """Matmuls of 3 rows through one plane of 5 x 4 weights."""
    m, k, n = 3, 5, 4
    weight = random_weight(name, n, k)
    part = (at(), at(), weight.row.code, at(), at(), 1, 2)
    code = [isa.Clip(register, size, size, at()) for register, size in enumerate((m, k, n))]
    code += [isa.DmaLoad(Mem.SPAD, at(), k, 0, at(), k, 1, 1, 0, 1)]
    code += [isa.DmaWeight(at(), at(), 4096), isa.Preload(*part), isa.Loop(turns)]
    code += [isa.Matmul(at(), at(), k, at(), 4 * n, 0, at()), isa.EndLoop(), isa.End()]
    return Function("stepped", "", (Argument("x", "int8", (m, k)),), tuple(code), pack([weight]))


def module_of(arch, *functions: Function):
    module = create(Program.for_arch(arch, {f.name: f for f in functions}).to_bytes())
    module["microscopiq.set_debug"](False)  # no semaphores
    return module


def records(module) -> list[dict]:
    return json.loads(str(module["microscopiq.stats"]()))


# 1 + 2 x 10 + 1 instructions, 11 cycles.
@pytest.mark.parametrize(("budget", "name"), [((10, 0, 0), "cycles"), ((0, 21, 0), "instructions")])
@pytest.mark.parametrize("call", ["clips", "microscopiq.time"])
def test_a_budget_is_the_most_that_a_run_may_take(budget, name, call):
    module, limit = module_of(TINY, clips(10)), max(budget)
    arguments = ["clips"] if call == "microscopiq.time" else []
    module["microscopiq.set_budget"](*budget)
    with pytest.raises(BudgetError) as caught:
        module[call](*arguments)
    message = str(caught.value)
    assert message.startswith("function 'clips', pc 0x")
    assert "cycle " in message and f"max_{name} = {limit}" in message
    assert f"a higher max_{name}, or 0 for no limit" in message
    assert isinstance(caught.value, SimError) and records(module) == []
    module["microscopiq.reset"]()
    module["microscopiq.set_budget"](*(part and part + 1 for part in budget))
    module[call](*arguments)
    (record,) = records(module)
    assert (record["cycles"], record["instructions"]) == (11, 22)


@pytest.mark.parametrize("budget", [(29, 0, 0), (0, 65, 0)])
def test_the_calls_of_a_run_share_its_budget(budget):
    module = module_of(TINY, clips(10))
    module["microscopiq.set_budget"](*budget)
    for _ in range(2):
        module["clips"]()
        module["clips"]()
        with pytest.raises(BudgetError):
            module["clips"]()
        module["microscopiq.reset"]()


def test_structural_mode_has_a_budget_of_its_own():
    module, x = module_of(SMALL, stepped(1)), tvm_ffi.from_dlpack(np.ones((3, 5), np.int8))
    module["microscopiq.set_mode"]("structural")
    # 3 rows through 5 x 4 PEs: 3 + 5 + 4 - 2 cycles, once alone and once among the call's.
    module["microscopiq.set_budget"](0, 0, 19)
    with pytest.raises(BudgetError, match="max_stepped_cycles = 19"):
        module["stepped"](x)
    module["microscopiq.reset"]()
    module["microscopiq.set_budget"](0, 0, 20)
    module["stepped"](x)
    module["microscopiq.set_mode"]("fast")
    module["stepped"](x)
    first, second = records(module)
    assert first == second


def test_temporal_arrays_have_it_too():
    module = module_of(load_arch("fineq-64x64"), stepped(1, "fineq"))
    module["microscopiq.set_mode"]("structural")
    # At least as many cycles as on PEs that multiply, 10.
    module["microscopiq.set_budget"](0, 0, 9)
    with pytest.raises(BudgetError, match="max_stepped_cycles = 9"):
        module["stepped"](tvm_ffi.from_dlpack(np.ones((3, 5), np.int8)))


@pytest.mark.parametrize("value", [-1, True, 1.5, "7", 1 << 63])
def test_no_such_budget(value):
    with pytest.raises(ConfigError, match=r"max_cycles = .*; allowed: an integer from 1, or 0"):
        budget_of(None, max_cycles=value)


def test_the_core_refuses_it_too():
    with pytest.raises(ConfigError, match=r"max_instructions = -1; allowed: at least 1, or 0"):
        module_of(TINY, clips(1))["microscopiq.set_budget"](0, -1, 0)


def test_files_have_a_budget(tmp_path):
    mod = make.module(make.mlp, (3, 10))
    executable, inputs = make.compiled(mod, "int8").executable, make.inputs_of(mod)
    path = tmp_path / "model.so"
    export_library(executable, path)
    assert Session(executable).budget == Budget()
    session = Session(path)
    assert session.budget == FILE_BUDGET
    cycles = session.run(*inputs).cycles
    assert Session(path, max_cycles=cycles).run(*inputs).cycles == cycles
    tight = Session(executable, max_cycles=cycles - 1)
    for run in (lambda: tight.run(*inputs), tight.time):
        with pytest.raises(BudgetError, match=f"max_cycles = {cycles - 1}"):
            run()
    assert Session(path, max_cycles=0).budget == dataclasses.replace(FILE_BUDGET, max_cycles=0)


INTERRUPTED = """
from microscopiq.compiler.without_torch import import_tvm

import_tvm()
import json, sys
import numpy as np, tvm_ffi
from tests.runtime.test_guard import SMALL, clips, module_of, records, stepped

module = module_of(SMALL, clips(1 << 26), stepped(1 << 20))
x = [tvm_ffi.from_dlpack(np.ones((3, 5), np.int8))]
module["microscopiq.set_mode"](sys.argv[1])
name, arguments = ("clips", []) if sys.argv[1] == "fast" else ("stepped", x)
try:
    print("running", flush=True)
    module[name](*arguments)
except KeyboardInterrupt:
    print("interrupted after", len(records(module)), "calls")
module["microscopiq.set_mode"]("fast")
module["microscopiq.set_budget"](0, 10, 0)
try:
    module["clips"]()
except Exception as error:
    print("then", type(error).__name__)
"""


@pytest.mark.parametrize("mode", ["structural", pytest.param("fast", marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_run(mode):
    """At once, not after the run; and the module goes on to work."""
    command = [sys.executable, "-c", INTERRUPTED, mode]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "running\n"
        time.sleep(0.2)  # now it's in the core, not in the line before
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert output == "interrupted after 0 calls\nthen BudgetError\n"
