"""Parts of published models as lists of operators, for estimates without the model.

They are what the compiler makes of such a part: a test compares them with a compiled one. Norms,
softmax, rotations and activation functions run on the host and cost nothing here.
"""

from dataclasses import dataclass

from ..target.errors import ConfigError, unknown_name
from .estimate import FormatOf, Task, quantize_rows
from .tir.operators import Gemm


@dataclass(frozen=True)
class Decoder:
    """Sizes of a LLaMA decoder layer: features, hidden features, heads of queries and of keys."""

    dim: int
    hidden: int
    heads: int
    kv_heads: int


DECODERS = {
    # Touvron et al., "Llama 2", 2023: 7B has no grouped-query attention.
    "llama2-7b-layer": Decoder(4096, 11008, 32, 32),
    "llama2-13b-layer": Decoder(5120, 13824, 40, 40),
    "llama2-70b-layer": Decoder(8192, 28672, 64, 8),
}


def preset_tasks(name: str, tokens: int, format_of: FormatOf) -> list[Task]:
    """Return the operators of a preset for a prefill of some tokens.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first) or no token.
    """
    if name not in DECODERS:
        raise ConfigError(unknown_name("preset", name, DECODERS))
    if tokens < 1:
        raise ConfigError(f"tokens = {tokens}; allowed: at least 1")
    return decoder_tasks(DECODERS[name], tokens, format_of)


def decoder_tasks(decoder: Decoder, tokens: int, format_of: FormatOf) -> list[Task]:
    """Return the operators of a decoder layer that reads its tokens at once.

    Heads of queries that share a key multiply with a copy of it, as the model is written.
    """
    heads, head_dim = decoder.heads, decoder.dim // decoder.heads
    key_dim = decoder.kv_heads * head_dim

    def linear(name: str, n: int, k: int, residual: bool = False) -> Task:
        return Task(name, Gemm(1, 1, tokens, n, k, format_of(name), residual=residual))

    def quantized(name: str, rows: int, length: int) -> Task:
        return Task(f"{name}.quantize", quantize_rows(rows, length))

    return [
        quantized("self_attn.input", tokens, decoder.dim),
        linear("self_attn.q_proj", decoder.dim, decoder.dim),
        linear("self_attn.k_proj", key_dim, decoder.dim),
        linear("self_attn.v_proj", key_dim, decoder.dim),
        quantized("self_attn.q", heads * tokens, head_dim),
        quantized("self_attn.k", heads * tokens, head_dim),
        Task("self_attn.scores", Gemm(heads, 1, tokens, tokens, head_dim, "")),
        quantized("self_attn.probs", heads * tokens, tokens),
        quantized("self_attn.v", heads * head_dim, tokens),
        Task("self_attn.mixed", Gemm(heads, 1, tokens, head_dim, tokens, "")),
        quantized("self_attn.mixed", tokens, decoder.dim),
        linear("self_attn.o_proj", decoder.dim, decoder.dim, residual=True),
        quantized("mlp.input", tokens, decoder.dim),
        linear("mlp.gate_proj", decoder.hidden, decoder.dim),
        linear("mlp.up_proj", decoder.hidden, decoder.dim),
        quantized("mlp.hidden", tokens, decoder.hidden),
        linear("mlp.down_proj", decoder.dim, decoder.hidden, residual=True),
    ]
