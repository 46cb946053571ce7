"""Models of text."""

from typing import Any

from .registry import architecture, hugging_face, tokens

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}


def _logits(model, ids):
    return model(input_ids=ids, use_cache=False).logits


def _decoder(kind: str, config: str, **sizes):
    return hugging_face(kind, config, _logits, **{**SMALL, **sizes}), (tokens(),)


@architecture("BERT")
def bert():
    return hugging_face(
        "BertForSequenceClassification", "BertConfig", lambda model, ids: model(ids).logits, **SMALL
    ), (tokens(),)


@architecture("GPT-2")
def gpt2():
    return hugging_face(
        "GPT2LMHeadModel", "GPT2Config", _logits,
        vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=32,
    ), (tokens(),)  # fmt: skip


@architecture("OPT")
def opt():
    return _decoder("OPTForCausalLM", "OPTConfig", ffn_dim=48, word_embed_proj_dim=32)


@architecture("LLaMA")
def llama():
    return _decoder("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=1)


@architecture("LLaMA with static cache", onnx=False)
def llama_cached():
    """One token of a model that keeps keys and values from call to call."""
    import torch
    import transformers
    from transformers.integrations.executorch import convert_and_export_with_cache

    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=1)
    config._attn_implementation = "eager"
    model = transformers.LlamaForCausalLM(config).eval()
    model.generation_config = transformers.GenerationConfig(
        use_cache=True,
        cache_implementation="static",
        max_length=16,
        cache_config={"batch_size": 1, "max_cache_len": 16},
    )
    return convert_and_export_with_cache(model), (torch.tensor([[7]]), torch.tensor([0]))


@architecture("Qwen2")
def qwen2():
    return _decoder("Qwen2ForCausalLM", "Qwen2Config", num_key_value_heads=1)


@architecture("Qwen3")
def qwen3():
    return _decoder("Qwen3ForCausalLM", "Qwen3Config", num_key_value_heads=1, head_dim=16)


@architecture("Mistral")
def mistral():
    return _decoder("MistralForCausalLM", "MistralConfig", num_key_value_heads=1)


@architecture("Phi-3")
def phi3():
    return _decoder("Phi3ForCausalLM", "Phi3Config", num_key_value_heads=1, pad_token_id=0)


@architecture("Mixtral")
def mixtral():
    return _decoder("MixtralForCausalLM", "MixtralConfig",
                    num_key_value_heads=1, num_local_experts=4)  # fmt: skip


@architecture("Mamba")
def mamba():
    return hugging_face(
        "MambaForCausalLM", "MambaConfig", _logits,
        vocab_size=64, hidden_size=32, state_size=8, num_hidden_layers=1, expand=2,
    ), (tokens(8),)  # fmt: skip


@architecture("T5")
def t5():
    def call(model, ids, targets):
        return model(input_ids=ids, decoder_input_ids=targets, use_cache=False).logits

    return hugging_face(
        "T5ForConditionalGeneration", "T5Config", call,
        vocab_size=64, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2,
    ), (tokens(), tokens(8))  # fmt: skip
