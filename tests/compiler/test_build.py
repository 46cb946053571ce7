"""compiler/backend.py and driver.py: TVM's own calls compile for the machine, others as before."""

import dataclasses
import warnings

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from microscopiq import Session, quantize
from microscopiq.compiler.api import build
from microscopiq.compiler.driver import RUN, Compilation, compile_model
from microscopiq.compiler.options import STAGES, Options
from microscopiq.compiler.quant.defaults import recipe_for
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.runtime.session import find_native, program_of
from microscopiq.target.arch import ARCH_DIR, DEFAULT_ARCH, arch_names, load_arch
from microscopiq.target.errors import ConfigError
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.segment import panels
from tests.compiler import relax_modules as make


@pytest.fixture(scope="module")
def int8():
    """Return a quantized module, inputs and the outputs on LLVM."""
    mod = quantize(make.model("chain"), "int8")
    inputs = make.inputs_of(mod)
    return mod, inputs, make.run_llvm(mod, inputs, target="llvm")


def run(executable, inputs):
    vm = relax.VirtualMachine(executable, tvm.cpu())
    return make.arrays(vm["main"](*map(tvm.runtime.tensor, inputs)))


def copy_of(name: str, folder):
    """Return the path of a machine of another name with the keys of a known one."""
    path = folder / "mine.toml"
    path.write_text((ARCH_DIR / f"{name}.toml").read_text().replace(f'"{name}"', '"mine"'))
    return path


def test_target_by_name(int8):
    mod, inputs, expected = int8
    executable = relax.build(mod, target="microscopiq")
    assert program_of(executable.mod).arch_name == DEFAULT_ARCH
    make.assert_equal_bits(expected, run(executable, inputs))


@pytest.mark.parametrize(
    ("choice", "weights"),
    [
        ({"model": "int8-64x64"}, {"int8"}),
        ({"model": "int4-64x64"}, {"int4"}),
        ({"model": "fineq-64x64"}, {"fineq"}),
        ({"model": "int8-64x64", "libs": ["recipe=int4"]}, {"int4"}),
        ({}, {"ms4"}),
    ],
)
def test_a_target_alone_picks_a_recipe_that_its_machine_can_run(choice, weights):
    """As TVM's own `build` of an fp32 module is called, without a line of this project."""
    target = tvm.target.Target({"tag": "microscopiq", **choice})
    executable = relax.build(make.model("onnx linear"), target=target)
    program = program_of(executable.mod)
    assert program.arch_name == choice.get("model", DEFAULT_ARCH)
    codes = {WEIGHT_FORMATS[name].code for name in weights}
    segments = [function.weights for function in program.functions.values() if function.weights]
    assert segments and {panels(segment)[0][0] for segment in segments} == codes


def test_libs_of_a_target_name_one_recipe():
    for libs in (["int4"], ["recipe=int4", "recipe=int8"]):
        target = tvm.target.Target({"tag": "microscopiq", "libs": libs})
        with pytest.raises(Exception, match=r"libs = .*; allowed: one entry 'recipe=NAME'"):
            relax.build(make.model("onnx linear"), target=target)


def test_every_machine_has_a_recipe_of_its_own():
    for name in arch_names():
        arch = load_arch(name)
        assert recipe_for(arch).weight_format in arch.weight_formats
    alone = dataclasses.replace(load_arch("int8-64x64"), weight_formats=())
    with pytest.raises(ConfigError, match="which no default recipe has: name a recipe"):
        recipe_for(alone)


def test_another_recipe_for_a_quantized_module_is_refused(int8):
    mod = int8[0]
    build(mod, recipe="int8")
    with pytest.raises(ConfigError, match="already quantized by recipe 'int8', and recipe 'int4' "):
        build(mod, recipe="int4")
    changed = dataclasses.replace(load_recipe("int8"), method="gptq")
    with pytest.raises(ConfigError, match="'int8' of that name but with other values would"):
        build(mod, recipe=changed)


def test_target_with_a_model(int8, tmp_path):
    mod, inputs, expected = int8
    models = {
        "int8-64x64": "int8-64x64",
        "tiny-4x4": "tiny-4x4",
        str(copy_of("tiny-4x4", tmp_path)): "mine",
    }
    for model, name in models.items():
        target = tvm.target.Target({"tag": "microscopiq", "model": model})
        executable = relax.build(mod, target=target)
        assert program_of(executable.mod).arch_name == name
        make.assert_equal_bits(expected, run(executable, inputs))


def test_unknown_model_is_refused(int8):
    target = tvm.target.Target({"tag": "microscopiq", "model": "int8-64x65"})
    with pytest.raises(ConfigError, match="int8-64x64"):
        relax.build(int8[0], target=target)


def test_build_and_relax_build_agree():
    """A module that nobody quantized gets the default recipe either way."""
    mod = make.model("onnx linear")
    inputs = make.inputs_of(mod)
    ours, theirs = build(mod), relax.build(mod, target="microscopiq")
    assert program_of(ours.mod).to_bytes() == program_of(theirs.mod).to_bytes()
    make.assert_equal_bits(run(ours, inputs), run(theirs, inputs))
    quantized = relax.build(quantize(mod, Options().recipe), target="microscopiq")
    assert program_of(quantized.mod).to_bytes() == program_of(ours.mod).to_bytes()


def test_target_in_scope_is_enough(int8):
    mod, inputs, expected = int8
    with tvm.target.Target("microscopiq"):
        executable = relax.build(mod, target=None)
    assert find_native(executable.mod) is not None
    make.assert_equal_bits(expected, run(executable, inputs))


def test_other_targets_are_left_alone():
    mod = make.module(lambda emit, x: make.relu(emit, make.linear(emit, x, 8)), (5, 10))
    inputs = make.inputs_of(mod)
    with tvm.target.Target("llvm"):
        before = relax.pipeline.default_build_pipeline()(mod)
        after = relax.pipeline.PIPELINE_MAP["default"]()(mod)
    tvm.ir.assert_structural_equal(before, after)
    executable = relax.build(mod, "llvm")
    assert find_native(executable.mod) is None
    found = run(executable, inputs)
    weight, bias = make.numbers(10, 8), make.numbers(8)
    np.testing.assert_allclose(
        found[0], np.maximum(inputs[0] @ weight + bias, 0), rtol=1e-5, atol=1e-6
    )


def test_quantized_module_is_an_ordinary_one(int8):
    mod, inputs, expected = int8
    make.assert_equal_bits(expected, make.run_llvm(mod, inputs))
    again = tvm.ir.load_json(tvm.ir.save_json(mod))
    make.assert_equal_bits(expected, run(relax.build(again, target="microscopiq"), inputs))


def test_host_operators_run_around_the_program():
    def body(emit, x):
        y = emit(op.nn.softmax(make.linear(emit, emit(op.tanh(x)), 8)))
        return emit(op.sum(y, axis=[-1]))

    mod = make.module(body, (5, 10))
    found = Session(build(mod, recipe="int8")).run(*make.inputs_of(mod)).outputs[0]
    np.testing.assert_allclose(found, np.ones(5), rtol=1e-6)


def test_stages_stop_and_leave_files(tmp_path):
    files = {
        "import": ["00_import.py"],
        "quantize": ["10_quantized.py", "10_quant.json"],
        "vectorize": ["15_vector.py"],
        "schedule": ["20_scheduled.py"],
        "emit": ["30_program.asm", "30_program.bin"],
    }
    mod, wanted = make.model("onnx linear"), []
    for stage in STAGES:
        folder = tmp_path / stage
        options = Options("int8", "tiny-4x4", dump_dir=folder, stop_after=stage, vector=True)
        state = compile_model(mod, options)
        wanted += files[stage]
        assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)
        assert (state.executable is not None) == (stage == "emit")
    assert (tmp_path / "emit" / "30_program.bin").read_bytes() == state.program.to_bytes()
    assert (tmp_path / "emit" / "30_program.asm").read_text() == state.program.listing()
    with pytest.raises(ConfigError, match="unknown stage 'emitt'"):
        Options(stop_after="emitt")


def test_a_stage_leaves_what_it_got():
    mod = make.model("onnx linear")
    first = Compilation(Options("int8", "tiny-4x4"), load_arch("tiny-4x4"), mod)
    done = [first]
    for stage in STAGES:
        done.append(RUN[stage](done[-1]))
    assert first.mod is mod and first.quantized is None
    assert [state.program is not None for state in done] == [False] * 5 + [True]
    assert done[3].quantized is done[5].quantized and not done[2].schedules


def test_progress_counts_layers():
    seen = []
    compile_model(
        make.model("chain"), Options("int8", "tiny-4x4", progress=lambda *step: seen.append(step))
    )
    quantized = [step[1:] for step in seen if step[0] == "quantize"]
    assert quantized == [(1, 3, "linear0"), (2, 3, "linear1"), (3, 3, "linear2")]
    emitted = [(done, total) for stage, done, total, _ in seen if stage == "emit"]
    assert emitted == [(i, 4) for i in range(1, 5)]  # three layers and the first one's input


def test_compiling_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(make.model("clip"), arch="tiny-4x4", recipe="int8")
