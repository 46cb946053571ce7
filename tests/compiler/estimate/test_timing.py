"""compiler/estimate/timing.py: programs are timed without data as they are with it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import tvm
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import microscopiq as mq
from benchmarks.models.llama import Config, Layer
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.estimate.decoder_layer import decoder_tasks
from microscopiq.compiler.estimate.presets import PRESETS, Decoder, load_preset
from microscopiq.compiler.estimate.products import weight_formats
from microscopiq.compiler.estimate.stand_in import ROUTABLE, TEMPLATES, stand_in_segment
from microscopiq.compiler.estimate.timing import (
    Task,
    estimate,
    gemm_tasks,
    time_functions,
)
from microscopiq.compiler.kinds.registry import emit, from_attribute, scheduled
from microscopiq.compiler.operators import ATTRIBUTE, Conv, Gemm, Quantize
from microscopiq.compiler.options import Options
from microscopiq.compiler.quant.base import quantize_weight
from microscopiq.target.arch import arch_names, load_arch
from microscopiq.target.errors import CapacityError, ConfigError, UnsupportedError
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.isa.program import Program
from microscopiq.target.packing import pack, unpack
from microscopiq.target.segment import is_shape_only, panel_bytes, panels
from microscopiq.target.weight import blocks
from tests.distinct_formats import DISTINCT

METHOD = {name: "rtn" for name in WEIGHT_FORMATS} | {"fineq": "fineq", "olive4": "olive"}
SLOW = settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def run_and_time(program: Program, name: str = "f") -> tuple[dict, dict]:
    """Return the records of a run on random arguments and of a timing-only run."""
    rng = np.random.default_rng(0)
    module = tvm.get_global_func("microscopiq.runtime.create")(program.to_bytes())
    arrays = [
        rng.integers(-8, 8, a.shape).astype(a.dtype) for a in program.functions[name].arguments
    ]
    module[name](*map(tvm.runtime.tensor, arrays))
    module["microscopiq.time"](name)
    full, timed = json.loads(str(module["microscopiq.stats"]()))
    return full, timed


def real_segment(op, seed: int = 0) -> bytes:
    """Return the segment of random weights with outliers, quantized by the format's method."""
    if not isinstance(op, Gemm) or not op.weight_format:
        return b""
    rng = np.random.default_rng(seed)
    real = (rng.standard_t(3, (op.conv_groups, op.n, op.k)) * 0.05).astype(np.float32)
    name = op.weight_format
    return pack([quantize_weight(METHOD[name], w, name, "test")[0] for w in real])


def expanded(segment: bytes) -> bytes:
    """Return the packed segment of the panels that a shape-only one stands for."""
    kinds, sizes = panels(segment), panel_bytes(segment)
    count = len(sizes)
    like = np.frombuffer(segment, "<u2", count, 8 + 4 * (len(kinds) + 1))
    offsets = 4 * (count + 2) + np.concatenate([[0], np.cumsum(sizes)])
    head = np.array([count], "<u4").tobytes() + offsets.astype("<u4").tobytes()
    return head + b"".join(kinds[kind] for kind in like)


@st.composite
def operators(draw):
    name = draw(st.sampled_from([*METHOD, ""]))
    kind = draw(st.sampled_from(["linear", "conv", "quantize"]))
    sizes = st.integers(1, 150)
    if kind == "quantize":
        rows, length = draw(sizes), draw(st.integers(1, 4000))
        return Quantize(rows, length, draw(st.sampled_from([min(128, length), length])))
    if kind == "linear" or not name:
        residual, batch = draw(st.booleans()), 1 if name else draw(st.integers(1, 3))
        requantize = bool(name) and draw(st.booleans())
        return Gemm(
            *(batch, 1, draw(st.integers(1, 60)), draw(sizes), draw(st.integers(1, 300)), name),
            bias=bool(name), residual=residual, low=0.0, requantize=requantize,
        )  # fmt: skip
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 5)]))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    channels, groups = draw(st.integers(1, 20)), draw(st.integers(1, 2))
    size = draw(st.tuples(st.integers(5, 14), st.integers(5, 14)))
    conv = Conv(channels, *size, *kernel, *strides, *pads, 1, 1)
    m, k = conv.out_height * conv.out_width, channels * kernel[0] * kernel[1]
    return Gemm(draw(st.integers(1, 2)), groups, m, draw(sizes), k, name, conv, True, low=0.0)


@SLOW
@given(op=operators(), arch=st.sampled_from(["tiny-4x4", "microscopiq-16x16", "ws-32x32-ideal"]))
def test_times_like_a_run(op, arch):
    machine = load_arch(arch)
    name = op.weight_format if isinstance(op, Gemm) else ""
    if name and name not in machine.weight_formats:
        machine = load_arch("tiny-4x4")
    for segment in (real_segment(op), stand_in_segment(op, 0.2) if isinstance(op, Gemm) else b""):
        function = emit(scheduled(op, machine).mod["main"], machine, "f", "test", segment)
        if is_shape_only(segment):
            bare = Program.for_arch(machine, {"f": function})
            function = dataclasses.replace(function, weights=expanded(segment))
            full, timed = run_and_time(Program.for_arch(machine, {"f": function}))
            assert time_functions(bare)["f"] == [timed]
        else:
            full, timed = run_and_time(Program.for_arch(machine, {"f": function}))
        assert timed == full | {"saturations": 0}


def test_every_architecture_and_format():
    for name in arch_names():
        arch = load_arch(name)
        every = name == "tiny-4x4"
        for weight_format in (f for f in arch.weight_formats if every or f in DISTINCT):
            op = Gemm(1, 1, 70, 140, 200, weight_format, bias=True)
            function = emit(scheduled(op, arch).mod["main"], arch, "f", "test", real_segment(op))
            full, timed = run_and_time(Program.for_arch(arch, {"f": function}))
            assert timed == full | {"saturations": 0}, (name, weight_format)


def test_a_compiled_model_is_timed_as_it_runs():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 20), torch.nn.GELU(), torch.nn.Linear(20, 20), torch.nn.GELU(),
        torch.nn.Linear(20, 20),
    )  # fmt: skip
    session = mq.Session(mq.build(mq.load_model(layer.eval(), (torch.randn(2, 3, 6, 6),))))
    run = session.run(np.ones((2, 3, 6, 6), np.float32))
    timed = session.time()
    assert timed.outputs == []
    # The two last layers share a quantization: called twice, it costs twice.
    names = [call["name"] for call in run.calls]
    assert max(map(names.count, names)) == 2
    assert timed.to_json() == run.to_json()


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_decoder_layer_is_what_the_compiler_makes_of_it(kv_heads):
    config = Config(256, 384, 1, 4, kv_heads, 10, 40)
    tokens = 20
    table = torch.ones(tokens, config.head_dim // 2)
    mask = torch.zeros(tokens, tokens).triu(1)
    inputs = (torch.randn(1, tokens, config.dim), table, table.clone(), mask)
    options = Options(recipe="int4", vector=False, graph=False)
    state = compile_model(Layer(config).eval(), options, inputs)
    made = {
        str(function.attrs[ATTRIBUTE])
        for _gv, function in state.quantized.functions.items()
        if ATTRIBUTE in (function.attrs or {})
    }
    tasks = decoder_tasks(Decoder(256, 384, 4, kv_heads), tokens, lambda _name: "int4")
    assert {task.operator for task in tasks} == set(map(from_attribute, made))
    result = estimate(tasks, state.arch).result
    run = mq.Session(state.executable).run(*[tensor.numpy() for tensor in inputs])
    # int4 panels cost the same whatever they hold: the estimate is exact, call by call.
    alike = [
        [{**call, "name": "", "layer": "", "function": "", "saturations": 0} for call in each.calls]
        for each in (result, run)
    ]
    assert alike[0] == alike[1]


def test_estimates_outliers_like_a_quantized_weight():
    op = Gemm(1, 1, 64, 512, 1024, "ms4")
    rng = np.random.default_rng(0)
    weights = rng.standard_t(8, (512, 1024)).astype(np.float32)
    weight, _ = quantize_weight("microscopiq", weights, "ms4", "test")
    share = float((weight.relative_exponent >= 0).mean())
    arch = load_arch("microscopiq-64x64")
    function = emit(scheduled(op, arch).mod["main"], arch, "f", "test", pack([weight]))
    (real,) = time_functions(Program.for_arch(arch, {"f": function}))["f"]
    guess = estimate([Task("f", op)], arch, share).result.calls[0]
    # A quantizer's outliers aren't quite independent: it looks for them in 128 outputs at a time.
    assert guess["cycles"] == pytest.approx(real["cycles"], rel=0.08)
    assert guess["outlier_rows"] == pytest.approx(real["outlier_rows"], rel=0.08)
    assert guess["dram_bytes"]["read"] == pytest.approx(real["dram_bytes"]["read"], rel=0.01)


@pytest.mark.parametrize("name", ["ms2", "ms4"])
@pytest.mark.parametrize("n", [1, 3, 8, 129, 130, 300])
def test_stand_ins_are_legal_panels(name, n):
    op = Gemm(1, 3, 1, n, 150, name)
    segment = stand_in_segment(op, 0.3)
    assert len(panel_bytes(segment)) == 3 * 2 * blocks(n, 128)
    assert len(panels(segment)) == TEMPLATES * 2 * (1 + (n > 128))
    flagged = total = 0
    for weight in unpack(expanded(segment), name, n, 150):
        used = weight.pairs[..., 0, :]
        pairs = used[used[..., 0] >= 0]
        assert set((pairs[:, 0] ^ pairs[:, 1]).tolist()) <= set(ROUTABLE)
        assert (pairs.max(initial=0) < 8) and (weight.pairs[..., 1:, :] == -1).all()
        last = weight.pairs[-1, :, 0]
        assert last.max(initial=-1) < n - (blocks(n, 8) - 1) * 8
        flagged += len(pairs)
        total += weight.relative_exponent[: n // 8].size
    if n >= 8:
        assert flagged / total == pytest.approx(0.3, rel=0.15)


def test_equal_operators_share_a_function():
    tasks = [Task("a", Gemm(1, 1, 2, 3, 4, "int8"), 2), Task("b", Gemm(1, 1, 2, 3, 4, "int8"))]
    tasks += [Task("a", Gemm(1, 1, 2, 3, 5, "int8"))]
    found = estimate(tasks, load_arch("tiny-4x4"))
    assert list(found.program.functions) == ["mq_a", "mq_a_2"]
    assert [call["layer"] for call in found.result.calls] == ["a", "a", "b", "a"]
    assert found.result.cycles == sum(call["cycles"] for call in found.result.calls)


def test_refusals():
    arch, format_of = load_arch("int8-64x64"), weight_formats("int8")
    for text in ("2x3", "a=2x3x0", "2x3x4x0", "x2x3x4", "-2x3x4", "2x3x4x5x6"):
        with pytest.raises(ConfigError, match=r"allowed: \[NAME=\]MxNxK\[xCOUNT\] with"):
            gemm_tasks(text, 0, format_of)
    assert [(t.name, t.size, t.count) for t in gemm_tasks("ffn=2x3x4x5", 1, format_of)] == [
        ("ffn.quantize", "2x4", 5),
        ("ffn", "2x3x4", 5),
    ]
    with pytest.raises(ConfigError, match=r"unknown weight format 'ms3'; did you mean ms"):
        weight_formats("int8", "ms3")
    with pytest.raises(ConfigError, match="unknown preset 'llama2-7b'; did you mean llama2-7b-l"):
        load_preset("llama2-7b")
    with pytest.raises(ConfigError, match="tokens = 0; allowed: at least 1"):
        decoder_tasks(PRESETS["llama2-7b-layer"], 0, format_of)
    tasks = gemm_tasks("2x3x4", 0, weight_formats("int8", "ms4"))
    with pytest.raises(UnsupportedError, match="int8-64x64 can't decode weight format 'ms4'"):
        estimate(tasks, arch)
    with pytest.raises(ConfigError, match=r"flagged share -0.1; allowed: 0 to 1"):
        estimate(tasks, arch, -0.1)
    tasks = gemm_tasks("2x30x40", 0, weight_formats("int8", "ms4"))
    with pytest.raises(CapacityError, match="mq_gemm0"):
        estimate(tasks, dataclasses.replace(load_arch("microscopiq-64x64"), wbuf_bytes=64))
