"""A language model with a cache that its exported program fills, from call to call."""

import numpy as np
import pytest

import microscopiq as mq

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTH = 16


@pytest.fixture(scope="module")
def program():
    """Return a tiny LLaMA as Hugging Face exports it: a token and its place in, logits out."""
    from transformers.integrations.executorch import convert_and_export_with_cache

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    config._attn_implementation = "eager"
    model = transformers.LlamaForCausalLM(config).eval()
    model.generation_config = transformers.GenerationConfig(
        use_cache=True,
        cache_implementation="static",
        max_length=LENGTH,
        cache_config={"batch_size": 1, "max_cache_len": LENGTH},
    )
    return convert_and_export_with_cache(model)


@pytest.fixture(scope="module")
def session(program):
    return mq.Session(mq.build(mq.load_model(program), recipe="int8"))


def at(token, place):
    return torch.tensor([[token]]), torch.tensor([place])


def greedy(call, prompt, count):
    """Return the logits of all calls, and the tokens that follow a prompt."""
    logits, tokens = [], list(prompt)
    for place in range(len(prompt) + count - 1):
        logits.append(call(*at(tokens[place], place)))
        if place + 1 >= len(prompt):
            tokens.append(int(np.argmax(logits[-1][0, -1])))
    return logits, tokens[len(prompt) :]


@pytest.mark.slow
def test_greedy_tokens_are_those_of_torch(program, session):
    source = program.module()

    def exact(token, place):
        with torch.no_grad():
            return source(input_ids=token, cache_position=place).numpy()

    expected, wanted = greedy(exact, [5, 77, 3], 8)
    found, tokens = greedy(lambda *x: session.run(*x).outputs[0], [5, 77, 3], 8)
    assert tokens == wanted
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(have, want, atol=0.02)
    state = session.state()
    assert state["cumulative_length_0"] == 10
    assert state["key_cache_0"].shape == (1, 2, LENGTH, 16)
    session.reset()
    again, _ = greedy(lambda *x: session.run(*x).outputs[0], [5, 77, 3], 8)
    np.testing.assert_array_equal(again, found)


@pytest.mark.slow
def test_a_token_that_the_table_lacks_is_an_error(session):
    session.reset()
    with pytest.raises(mq.InputError, match="from input 'input_ids', is outside; allowed: 0 to 12"):
        session.run(*at(128, 0))
    # A run that failed left the cache as it was.
    assert session.state()["cumulative_length_0"] == 0
