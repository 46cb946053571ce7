"""compiler/passes/kv_cache.py: keys and values as a cache of 2 bits holds them."""

import dataclasses

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from microscopiq import build, load_model, quantize
from microscopiq.compiler.demo.run import FOLDER
from microscopiq.compiler.passes.kv_cache import attention_products, round_caches
from microscopiq.compiler.quant.host_formats import KV_FORMATS
from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.runtime.session import Session
from microscopiq.target.errors import ConfigError
from tests.compiler import relax_modules as make

RECIPE = load_recipe("microscopiq-w2a8-kv2")
HEADS, TOKENS, WIDTH = 2, 300, 40


def attention(emit, query, key, value):
    """Scores with a factor and a mask, as exporters write it."""
    turned = emit(op.permute_dims(key, [0, 1, 3, 2]))
    scores = emit(op.multiply(emit(op.matmul(query, turned)), relax.const(np.float32(0.2))))
    mask = relax.const(np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1))
    return emit(op.matmul(emit(op.nn.softmax(emit(op.add(scores, mask)), -1)), value))


SHAPE = (1, HEADS, TOKENS, WIDTH)
MODULE = make.module(attention, SHAPE, SHAPE, SHAPE)


def held(x: np.ndarray) -> np.ndarray:
    """Return groups of 128 along the last axis: 4 codes from the least on, in steps of fp16."""
    out = np.empty_like(x)
    for start in range(0, x.shape[-1], 128):
        part = x[..., start : start + 128]
        low = part.min(axis=-1, keepdims=True).astype(np.float16).astype(np.float32)
        step = (part.max(axis=-1, keepdims=True) - low) / np.float32(3)
        step = np.maximum(step.astype(np.float16).astype(np.float32), np.float32(2**-24))
        out[..., start : start + 128] = np.clip(np.rint((part - low) / step), 0, 3) * step + low
    return out


def test_old_tokens_are_rounded_per_channel_and_per_token():
    query, key, value = make.inputs_of(MODULE)
    value[0, 0, 3] = 1.5  # equal values have a step of 0
    key, value = key.copy(), value.copy()
    mod = round_caches(relax.transform.ToNonDataflow()(MODULE), RECIPE)
    (found,) = make.run_llvm(mod, [query, key, value])
    old = TOKENS - KV_FORMATS["kv2-g128"].recent
    key[..., :old, :] = held(key[..., :old, :].swapaxes(2, 3)).swapaxes(2, 3)
    value[..., :old, :] = held(value[..., :old, :])
    assert (value[0, 0, 3] == 1.5).all()
    (expected,) = make.run_llvm(MODULE, [query, key, value])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (exact,) = make.run_llvm(MODULE, make.inputs_of(MODULE))
    assert np.abs(expected - exact).max() > 0.1


def test_what_reads_a_cache_is_found():
    mod = relax.transform.ToNonDataflow()(MODULE)
    assert sorted(attention_products(mod["main"]).values()) == ["keys", "values"]
    gated = make.module(
        lambda emit, x, y: emit(op.matmul(emit(op.nn.softmax(x, -1)), y)), (4, 5), (5, 6)
    )
    assert attention_products(relax.transform.ToNonDataflow()(gated)["main"]) == {}


def test_all_heads_of_an_exported_model_are_found():
    mod = relax.transform.ToNonDataflow()(load_model(FOLDER / "digits_vit.onnx"))
    assert sorted(attention_products(mod["main"]).values()) == ["keys"] * 4 + ["values"] * 4


def test_recent_tokens_alone_stay_as_they_are():
    shape = (1, HEADS, 128, WIDTH)

    def plain(emit, query, key, value):
        turned = emit(op.permute_dims(key, [0, 1, 3, 2]))
        shares = emit(op.nn.softmax(emit(op.matmul(query, turned)), -1))
        return emit(op.matmul(shares, value))

    few = make.module(plain, shape, shape, shape)
    inputs = make.inputs_of(few)
    mod = round_caches(relax.transform.ToNonDataflow()(few), RECIPE)
    make.assert_equal_bits(make.run_llvm(few, inputs), make.run_llvm(mod, inputs))


def test_the_machine_multiplies_rounded_keys_and_values():
    quantized = quantize(MODULE, RECIPE)
    inputs = make.inputs_of(MODULE)
    found = Session(build(quantized, "microscopiq-16x16")).run(*inputs).outputs
    make.assert_equal_bits(make.run_llvm(quantized, inputs), found)
    plain = quantize(MODULE, dataclasses.replace(RECIPE, kv_cache="fp32"))
    assert np.abs(make.run_llvm(plain, inputs)[0] - found[0]).max() > 0.1


def test_bits_and_models_without_attention():
    assert KV_FORMATS["kv2-g128"].bits_per_element == 2.25
    message = "kv_cache = 'kv2-g128' needs attention, a softmax between two products of act"
    with pytest.raises(ConfigError, match=message):
        quantize(make.model("chain"), RECIPE)
