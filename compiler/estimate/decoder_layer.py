"""A decoder layer as a list of operators: what the compiler makes of it, as a test checks.

Norms, softmax, rotations and activation functions run on the host and are left out.
"""

from ..operators import Gemm
from .presets import Decoder, check_tokens
from .products import FormatOf
from .timing import Task, quantize_rows


def decoder_tasks(decoder: Decoder, tokens: int, format_of: FormatOf) -> list[Task]:
    """Return the operators of a decoder layer that reads its tokens at once.

    Heads of queries that share a key multiply with a copy of it, as the model is written.

    Raises
    ------
    ConfigError
        For no token.
    """
    check_tokens(tokens)
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
