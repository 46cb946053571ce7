"""Tiny models of common architectures through torch.export: all products on the array, exact."""

import collections

import numpy as np
import pytest
import torch

import microscopiq as mq
from microscopiq.compiler.driver import compile_model
from microscopiq.compiler.options import Options
from microscopiq.compiler.passes.records import read_records
from microscopiq.compiler.verify import run_reference

transformers = pytest.importorskip("transformers", reason="package transformers is missing")

SMALL = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}


class Call(torch.nn.Module):
    """A model and the way to call it with tensors only."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs):
        return self.call(self.model, *inputs)


def tokens(length=16):
    return torch.randint(0, 128, (1, length), generator=torch.Generator().manual_seed(1))


def gpt2():
    """Its mask sums booleans, which LLVM can't: the frontend's output needs a repair."""
    config = transformers.GPT2Config(vocab_size=128, n_embd=64, n_layer=1, n_head=4, n_positions=64)
    model = transformers.GPT2LMHeadModel(config)
    return Call(model, lambda m, i: m(input_ids=i, use_cache=False).logits), (tokens(),)


def llama():
    config = transformers.LlamaConfig(num_key_value_heads=2, max_position_embeddings=64, **SMALL)
    model = transformers.LlamaForCausalLM(config)
    return Call(model, lambda m, i: m(input_ids=i, use_cache=False).logits), (tokens(),)


def vit():
    sizes = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    model = transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **sizes))
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Call(model, lambda m, x: m(pixel_values=x).last_hidden_state), (image,)


EXPECTED = {
    gpt2: {"linear": 5, "attention": 2},
    llama: {"linear": 8, "attention": 2},
    vit: {"conv2d": 1, "linear": 6, "attention": 2},
}


@pytest.mark.parametrize(
    ("make", "recipe"),
    [
        pytest.param(gpt2, "microscopiq-w4a8", marks=pytest.mark.slow),
        (llama, "microscopiq-w4a4"),
        pytest.param(llama, "microscopiq-w4a8", marks=pytest.mark.slow),
        pytest.param(vit, "microscopiq-w4a8", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_all_products_run_on_the_array(make, recipe):
    torch.manual_seed(0)
    model, inputs = make()
    model.model.config._attn_implementation = "eager"
    mod = mq.load_model(model.eval(), inputs)
    compilation = compile_model(mod, Options(recipe=recipe, strict=True))
    kinds = collections.Counter(row.kind for row in compilation.layers.values())
    del kinds["quantize"], kinds["vector"]
    assert dict(kinds) == EXPECTED[make]
    arrays = [tensor.numpy() for tensor in inputs]
    found = mq.Session(compilation.executable).run(*arrays).outputs
    for want, have in zip(run_reference(compilation, arrays), found, strict=True):
        np.testing.assert_array_equal(want.view(np.uint8), have.view(np.uint8))


def test_strict_refuses_a_product_the_array_has_no_form_for():
    class Correlation(torch.nn.Module):
        def forward(self, x, kernel):
            return torch.nn.functional.conv1d(x, kernel)

    mod = mq.load_model(Correlation(), (torch.zeros(1, 4, 16), torch.zeros(8, 4, 3)))
    with pytest.raises(mq.UnsupportedError, match=r"nn.conv1d: only float32, a constant weight"):
        compile_model(mod, Options(strict=True))


class Transposed(torch.nn.Module):
    """A linear layer of an input that isn't contiguous: torch exports copies of its weight."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(6, 5)

    def forward(self, x):
        return self.mix(x.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_linear_layer_of_a_transposed_input_is_one(batch):
    torch.manual_seed(0)
    model, x = Transposed().eval(), torch.randn(batch, 6, 4, 4)
    quantized = mq.quantize(mq.load_model(model, (x,)), recipe="int8")
    layers = [row for row in read_records(quantized).layers.values() if row.work]
    assert [(row.layer, row.kind, row.work.m) for row in layers] == [("mix", "linear", 16 * batch)]
    found = mq.Session(mq.build(quantized)).run(x.numpy()).outputs[0]
    np.testing.assert_allclose(found, model(x).detach().numpy(), atol=0.05)
