"""Sizes of parts of published models, for estimates without the model."""

from dataclasses import dataclass

from ...target.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Decoder:
    """Sizes of a LLaMA decoder layer: features, hidden features, heads of queries and of keys."""

    dim: int
    hidden: int
    heads: int
    kv_heads: int


PRESETS = {
    # Touvron et al., "Llama 2", 2023; only the largest shares a key among heads of queries.
    "llama2-7b-layer": Decoder(4096, 11008, 32, 32),
    "llama2-13b-layer": Decoder(5120, 13824, 40, 40),
    "llama2-70b-layer": Decoder(8192, 28672, 64, 8),
}


def load_preset(name: str) -> Decoder:
    """Return a preset by name.

    Raises
    ------
    ConfigError
        For an unknown name (nearest names first).
    """
    if name not in PRESETS:
        raise ConfigError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]


def check_tokens(tokens: int) -> None:
    """Raise ConfigError for no token."""
    if tokens < 1:
        raise ConfigError(f"tokens = {tokens}; allowed: at least 1")
