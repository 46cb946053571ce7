"""The one path from a model to a program: every way in goes through these stages."""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import tvm
from tvm import relax

from ..runtime.whole_file import whole_file
from ..target.arch import Arch, load_arch
from ..target.errors import ConfigError, InputError
from ..target.isa.program import Program
from .calibration.collect import Calibration, collect
from .frontend.repair import repair
from .options import STAGES, Options
from .passes.lower import (
    LOWERED,
    emit_programs,
    leave_to_host,
    quantized_functions,
    schedule_operators,
)
from .passes.quantize import HOST, LAYERS, is_quantized, quantize_model
from .quant.recipe import load_recipe


@dataclass
class Compilation:
    """A model on its way; each stage fills in what it makes.

    Attributes
    ----------
    mod : tvm.IRModule
        After the last stage that ran.
    quantized : tvm.IRModule or None
        Runs on LLVM; the reference for the program.
    program : Program or None
    executable : tvm.relax.VMExecutable or None
    tuned : int
        Distinct operators whose schedule comes from a tuning database.
    """

    options: Options
    arch: Arch
    mod: tvm.IRModule
    quantized: tvm.IRModule | None = None
    schedules: dict = field(default_factory=dict)
    tuned: int = 0
    program: Program | None = None
    executable: object = None

    @property
    def layers(self) -> dict[str, dict]:
        """Records of accelerated operators by symbol."""
        return json.loads(str(self.mod.attrs[LAYERS]))

    @property
    def host(self) -> list[list]:
        """Host operators: [function, op, reason, count]."""
        return json.loads(str(self.mod.attrs[HOST]))


def load_model(source, example_inputs: tuple | None = None) -> tvm.IRModule:
    """Return the Relax module of a model.

    Parameters
    ----------
    source : str, Path, onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module or IRModule
    example_inputs : tuple of torch.Tensor, optional
        For an `nn.Module`.

    Raises
    ------
    InputError
        For something that is no model.
    UnsupportedError
        For an operator that TVM can't import.
    """
    if isinstance(source, tvm.IRModule):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix in (".pt", ".pth", ".pt2", ".th"):
            raise InputError(
                f"{path}: torch files execute code when they are loaded; load it yourself and "
                "pass the nn.Module or ExportedProgram, or export it to ONNX"
            )
        from .frontend.onnx import load_onnx

        return load_onnx(path)
    kind = type(source).__module__.split(".")[0]
    if kind == "onnx":
        from .frontend.onnx import load_onnx

        return load_onnx(source)
    if kind == "torch" or any(base.__module__.startswith("torch.") for base in type(source).mro()):
        from .frontend.torch import load_torch

        return load_torch(source, example_inputs)
    raise InputError(
        f"can't load a model from {type(source).__name__}; allowed: path of an .onnx file, "
        "onnx.ModelProto, torch.export.ExportedProgram, torch.nn.Module, tvm.IRModule"
    )


def run_import(state: Compilation) -> None:
    """Repair what the frontend left and bring the module to normal form."""
    state.mod = relax.transform.CanonicalizeBindings()(repair(state.mod))


def run_quantize(state: Compilation) -> None:
    """Choose what the array runs, quantize weights, fuse epilogues."""
    if not is_quantized(state.mod):
        recipe = load_recipe(state.options.recipe)
        report = _stage_progress(state.options, "quantize")
        calibrate = _calibration(state.options)
        state.mod = quantize_model(state.mod, recipe, state.options.strict, report, calibrate)
    elif state.options.calibration is not None:
        raise ConfigError(
            "the module is already quantized, and calibration would change nothing: give the "
            "samples to `quantize`"
        )
    state.quantized = state.mod


def run_schedule(state: Compilation) -> None:
    """Tile every distinct operator for the architecture."""
    state.mod = leave_to_host(state.mod, state.arch, state.options.strict)
    tiles = _tuned(state)
    state.schedules = schedule_operators(state.mod, state.arch, tiles)
    state.tuned = len(tiles)


def _tuned(state: Compilation) -> dict:
    """Return the tiles that a tuning database has for the module's operators."""
    from tvm.s_tir.meta_schedule import Database

    folder = state.options.tuning_db
    if folder is None and Database.current() is None:
        return {}
    from .tuned.database import open_database, tuned_tiles

    database = None if folder is None else open_database(folder, state.arch)
    functions = [function for _, function in quantized_functions(state.mod)]
    return tuned_tiles(functions, state.arch, database)


def run_emit(state: Compilation) -> None:
    """Emit the program and call it from the module."""
    report = _stage_progress(state.options, "emit")
    state.mod, state.program = emit_programs(state.mod, state.arch, state.schedules, report)
    create = tvm.get_global_func("microscopiq.runtime.create")
    native = create(state.program.to_bytes())
    state.mod = state.mod.with_attr("external_mods", [native])


RUN = dict(zip(STAGES, (run_import, run_quantize, run_schedule, run_emit), strict=True))


def run_stages(mod: tvm.IRModule, options: Options) -> Compilation:
    """Run the stages up to `options.stop_after` on an imported module."""
    state = Compilation(options, load_arch(options.arch), mod)
    if mod.attrs and LOWERED in mod.attrs:
        raise ConfigError(
            f"the module is already compiled for {mod.attrs[LOWERED]}; compile the model it "
            "came from"
        )
    if options.dump_dir:
        make_folder(options.dump_dir)
    for stage in STAGES:
        RUN[stage](state)
        _verify(state, stage)
        if options.dump_dir:
            _dump(state, stage, Path(options.dump_dir))
        if stage == options.stop_after:
            break
    return state


def _verify(state: Compilation, stage: str) -> None:
    """Raise when a stage left an ill-formed module or function: a bug of ours, milliseconds.

    The program needs no check here: the runtime decodes and checks all of it when it is made.
    """
    relax.analysis.well_formed(state.mod)
    if stage == "schedule":
        for function in state.schedules.values():
            tvm.s_tir.analysis.verify_well_formed(function, assert_mode=True)


def compile_model(source, options: Options, example_inputs: tuple | None = None) -> Compilation:
    """Compile a model to an executable whose program runs on the simulator."""
    state = run_stages(load_model(source, example_inputs), options)
    if state.program is not None:
        if options.progress:
            options.progress("host", 0, 1, "LLVM code of the rest")
        state.executable = build_host(state.mod)
    return state


def build_host(mod: tvm.IRModule):
    """Return the executable of a module whose accelerated part is already a program."""
    return relax.build(mod, target=tvm.target.Target("microscopiq"))


def quantize(source, recipe, calibration=None, progress=None) -> tvm.IRModule:
    """Return the quantized Relax module of a model; it builds for LLVM and for the machine.

    Parameters
    ----------
    calibration : iterable or Calibration, optional
        Samples of the model's inputs: arrays, mappings by input name, or tuples in order. A
        method that rounds to nearest uses them for its report alone.

    Raises
    ------
    MicroscopiqError
        As `build`.
    """
    options = Options(
        recipe=recipe, stop_after="quantize", progress=progress, calibration=calibration
    )
    state = Compilation(options, load_arch(options.arch), load_model(source))
    for stage in STAGES[: STAGES.index("quantize") + 1]:
        RUN[stage](state)
        _verify(state, stage)
    return state.mod


def _calibration(options: Options):
    """Return what `quantize_model` calls to calibrate, None without samples."""
    samples = options.calibration
    if samples is None:
        return None
    chosen = samples if isinstance(samples, Calibration) else Calibration(samples)
    report = _stage_progress(options, "calibrate")
    return functools.partial(collect, calibration=chosen, progress=report)


def _stage_progress(options: Options, stage: str):
    if options.progress is None:
        return None
    return lambda done, total, item: options.progress(stage, done, total, item)


def _dump(state: Compilation, stage: str, folder: Path) -> None:
    """Write what a stage made."""
    if stage == "import":
        write_file(folder / "00_import.py", state.mod.script(show_meta=False))
    elif stage == "quantize":
        write_file(folder / "10_quantized.py", state.mod.script(show_meta=False))
        record = {"layers": state.layers, "host": state.host}
        write_file(folder / "10_quant.json", json.dumps(record, indent=1))
    elif stage == "schedule":
        text = "\n\n".join(func.script(show_meta=False) for func in state.schedules.values())
        write_file(folder / "20_scheduled.py", text)
    else:
        write_file(folder / "30_program.asm", state.program.listing())
        write_file(folder / "30_program.bin", state.program.to_bytes())


def make_folder(folder: str | Path) -> Path:
    """Return a folder that exists now.

    Raises
    ------
    ConfigError
        When it can't be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't make the folder '{folder}': {error.strerror}") from None
    return Path(folder)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it: no reader sees half of it.

    Raises
    ------
    ConfigError
        When the folder or the file can't be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
