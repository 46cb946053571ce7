"""The one path from a model to a program: every way in goes through these stages."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import tvm
from tvm import relax, tirx

from ..runtime.whole_file import make_folder, write_file
from ..target.arch import Arch, load_arch
from ..target.errors import ConfigError, MicroscopiqError, UnsupportedError, last_line
from ..target.formats import DEFAULT_ACTIVATION
from ..target.isa.program import Program
from .calibration.collect import Calibration, collect
from .calibration.magnitudes import largest_magnitudes
from .calibration.samples import model_inputs
from .frontend.load import is_onnx, load_model
from .frontend.repair import repair
from .frontend.size_bounds import with_size_bounds
from .frontend.slices import with_plain_slices
from .link.calls import Runs
from .llvm import fewer_checks
from .options import STAGES, Options
from .partition.given import source_products
from .partition.graph import function_names
from .passes.integer_only.check import proved
from .passes.integer_only.rewrite import to_integers
from .passes.integers.take import take_integers
from .passes.lower import emit_programs, leave_to_host, quantized_functions, schedule_operators
from .passes.outlier_ways import ways_taken, with_outlier_ways
from .passes.products.rewrite import as_products
from .passes.quantize import quantize_model
from .passes.records import (
    HostOperator,
    LayerRecord,
    is_quantized,
    lowered_for,
    read_records,
    recipe_of,
    with_recipe,
)
from .passes.side_by_side import side_by_side
from .passes.vectorize.vectorize import has_kernels, vectorize
from .quant.defaults import recipe_for, source_recipe
from .quant.recipe import Recipe, load_recipe
from .sizes import bounded, with_bounds


@dataclass(frozen=True)
class Compilation:
    """A model on its way; each stage returns one with what it made.

    Attributes
    ----------
    mod : tvm.IRModule
        After the last stage that ran.
    quantized : tvm.IRModule or None
        Runs on LLVM; the reference for the program.
    placed : tvm.IRModule or None
        The same as this machine runs it, with the same bits.
    schedules : mapping of str to tirx.PrimFunc
        By the operator's attribute.
    tuned : int
        Distinct operators whose schedule comes from a tuning database.
    program : Program or None
    runs : mapping of str to tuple of Call
        What the program's functions of several operators are made of.
    executable : tvm.relax.VMExecutable or None
    integers_only : bool
        Nothing between the model's inputs and outputs may be fp32: emission proves it.
    """

    options: Options
    arch: Arch
    mod: tvm.IRModule
    quantized: tvm.IRModule | None = None
    placed: tvm.IRModule | None = None
    schedules: Mapping[str, tirx.PrimFunc] = field(default_factory=dict)
    tuned: int = 0
    program: Program | None = None
    runs: Runs = field(default_factory=dict)
    executable: object = None
    integers_only: bool = False

    @property
    def layers(self) -> Mapping[str, LayerRecord]:
        """Records of accelerated operators by symbol."""
        return read_records(self.mod).layers

    @property
    def host(self) -> tuple[HostOperator, ...]:
        """Operators on the host."""
        return read_records(self.mod).host

    @property
    def outlier_ways(self) -> dict[str, str]:
        """How each layer with outliers multiplies them, by name; empty before schedules."""
        if self.placed is None:
            return {}
        return ways_taken(self.placed, self.schedules, read_records(self.placed).layers)


def prepared(mod: tvm.IRModule) -> tvm.IRModule:
    """Repair what the frontend left, write products as the array knows them, canonicalize."""
    mod = repair(with_plain_slices(mod))
    # What is quantized has its products already, and stays as it is.
    mod = mod if is_quantized(mod) else as_products(mod)
    return relax.transform.CanonicalizeBindings()(mod)


def run_import(state: Compilation) -> Compilation:
    """Prepare the module."""
    return replace(state, mod=prepared(state.mod))


def run_quantize(state: Compilation) -> Compilation:
    """Choose what the array runs, quantize weights, fuse epilogues."""
    named = state.options.recipe
    recipe = None if named is None else load_recipe(named)
    if not is_quantized(state.mod):
        taken = take_integers(state.mod)
        recipe = _of_source(taken, state.options) or recipe or recipe_for(state.arch)
        if recipe.integers_only:
            return _integers_only(state, recipe)
        report = _stage_progress(state.options, "quantize")
        calibrate = _calibration(state.options)
        mod = quantize_model(taken, recipe, state.options.strict, report, calibrate)
        return replace(state, mod=mod, quantized=mod)
    if state.options.calibration is not None:
        raise ConfigError(
            "the module is already quantized, and calibration would change nothing: give the "
            "samples to `quantize`"
        )
    if recipe is not None:
        _check_same(recipe, state.mod)
    return replace(state, quantized=state.mod)


def _integers_only(state: Compilation, recipe: Recipe) -> Compilation:
    """Write the model in integers, and give the array its products."""
    samples = state.options.calibration
    if samples is None:
        raise ConfigError(
            f"recipe '{recipe.name}' takes its scales from samples: give `calibration` some inputs "
            "of the model"
        )
    chosen = samples if isinstance(samples, Calibration) else Calibration(samples)
    inputs, _ = model_inputs(state.mod, chosen.function)
    calls = chosen.calls(inputs)
    mod = to_integers(state.mod, lambda mod: largest_magnitudes(mod, calls))
    products = replace(recipe, activation=DEFAULT_ACTIVATION)
    report = _stage_progress(state.options, "quantize")
    mod = quantize_model(mod, products, state.options.strict, report)
    mod = with_recipe(mod, recipe.name, repr(recipe))
    return replace(state, mod=mod, quantized=mod, integers_only=True)


def _of_source(mod: tvm.IRModule, options: Options) -> Recipe | None:
    """Return the recipe of a model that comes quantized, None of any other."""
    given = sum(len(source_products(mod[gv])) for gv in function_names(mod))
    if not given:
        return None
    words = {"recipe": options.recipe, "calibration": options.calibration}
    for word, value in words.items():
        if value is not None:
            raise ConfigError(
                f"the model comes quantized: {given} of its products multiply integers of its own, "
                f"which are taken as they are; a {word} on top would quantize a second time: leave "
                f"the {word} out, or give the model before it was quantized"
            )
    return source_recipe()


def _check_same(recipe: Recipe, mod: tvm.IRModule) -> None:
    """Raise ConfigError for a recipe that isn't the one by which a module is quantized."""
    name, whole = recipe_of(mod)
    if whole != repr(recipe):
        also = " of that name but with other values" if name == recipe.name else ""
        raise ConfigError(
            f"the module is already quantized by recipe '{name}', and recipe '{recipe.name}'{also} "
            "would change nothing: give it to `quantize`, or leave it out"
        )


def run_vectorize(state: Compilation) -> Compilation:
    """Give the vector unit what is left, where that was asked for."""
    if not (state.options.vector or has_kernels(state.mod)):
        return state
    mod = vectorize(state.mod, state.arch)
    return replace(state, mod=mod, quantized=mod)


def run_schedule(state: Compilation) -> Compilation:
    """Tile every distinct operator for the architecture."""
    mod = leave_to_host(state.mod, state.arch, state.options.strict)
    mod = with_outlier_ways(side_by_side(mod, state.arch), state.arch, state.options.outlier_ways)
    tiles = _tuned(mod, state)
    schedules = schedule_operators(mod, state.arch, tiles)
    return replace(state, mod=mod, placed=mod, schedules=schedules, tuned=len(tiles))


def _tuned(mod: tvm.IRModule, state: Compilation) -> dict:
    """Return the tiles that a tuning database has for the module's operators."""
    from tvm.s_tir.meta_schedule import Database

    folder = state.options.tuning_db
    if folder is None and Database.current() is None:
        return {}
    from .tuned.database import open_database, tuned_tiles

    database = None if folder is None else open_database(folder, state.arch)
    functions = [function for _, function in quantized_functions(mod)]
    return tuned_tiles(functions, state.arch, database)


def run_emit(state: Compilation) -> Compilation:
    """Emit the program and call it from the module."""
    report = _stage_progress(state.options, "emit")
    mod, program, runs = emit_programs(
        state.mod, state.arch, state.schedules, report, state.options.graph
    )
    if state.integers_only:
        proved(mod, program)
    create = tvm.get_global_func("microscopiq.runtime.create")
    mod = mod.with_attr("external_mods", [create(program.to_bytes())])
    return replace(state, mod=mod, program=program, runs=runs)


RUN: dict[str, Callable[[Compilation], Compilation]] = dict(
    zip(STAGES, (run_import, run_quantize, run_vectorize, run_schedule, run_emit), strict=True)
)
"""What each stage does, in order."""


def run_stages(mod: tvm.IRModule, options: Options) -> Compilation:
    """Run the stages up to `options.stop_after` on an imported module."""
    state = Compilation(options, load_arch(options.arch), mod)
    if arch := lowered_for(mod):
        raise ConfigError(
            f"the module is already compiled for {arch}; compile the model it came from"
        )
    if options.dump_dir:
        make_folder(options.dump_dir)
    known = bounded(mod, options.max_sizes)
    if known:
        state = replace(state, mod=with_size_bounds(mod, known))
    with with_bounds(known):
        for stage in STAGES:
            state = RUN[stage](state)
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
    bounds = options.max_sizes if is_onnx(source) else None
    state = run_stages(load_model(source, example_inputs, max_sizes=bounds), options)
    if state.program is not None:
        if options.progress:
            options.progress("host", 0, 1, "LLVM code of the rest")
        return replace(state, executable=build_host(state.mod))
    return state


def build_host(mod: tvm.IRModule):
    """Return the executable of a module whose accelerated part is already a program."""
    try:
        with fewer_checks(mod):
            return relax.build(mod, target=tvm.target.Target("microscopiq"))
    except (MicroscopiqError, OSError):
        raise
    except Exception as error:
        raise UnsupportedError(
            "TVM can't build what stays on the host: "
            f"{last_line(error)} ({type(error).__name__}); `compile --stop-after quantize "
            "--dump-dir DIR` shows it"
        ) from error


def quantize(source, recipe=None, calibration=None, progress=None) -> tvm.IRModule:
    """Return the quantized Relax module of a model; it builds for LLVM and for the machine.

    Parameters
    ----------
    recipe : str, Path or Recipe, optional
        Name, TOML path, or loaded; `DEFAULT_RECIPE` unless given, and none for a model that comes
        quantized.
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
    return run_stages(load_model(source), options).mod


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
        layers = {symbol: record.to_json() for symbol, record in state.layers.items()}
        record = {"layers": layers, "host": state.host}
        write_file(folder / "10_quant.json", json.dumps(record, indent=1))
    elif stage == "vectorize" and state.options.vector:
        write_file(folder / "15_vector.py", state.mod.script(show_meta=False))
    elif stage == "schedule":
        text = "\n\n".join(func.script(show_meta=False) for func in state.schedules.values())
        write_file(folder / "20_scheduled.py", text)
    elif state.program is not None:
        write_file(folder / "30_program.asm", state.program.listing())
        write_file(folder / "30_program.bin", state.program.to_bytes())
