"""Silero VAD for 16 kHz: is somebody speaking in these 32 ms? (github.com/snakers4/silero-vad).

A short-time Fourier transform written as a convolution, four convolutions over its magnitudes, one
LSTM cell and one output. The weights are the initializers of the project's ONNX file
`silero_vad_16k_op15.onnx`, the structure was read from that file's graph, and over 8 s of sound
probabilities stay within 2e-5 of onnxruntime's (`tests/e2e/test_real_models.py`).

Convolutions over time are written two-dimensional with height 1, the form that the array has a
gather for, and the cell as two linear layers. Like the original, a call takes one chunk and the
state, so that each weight is one layer, however long the sound is, and calibration sees the states
that earlier chunks left. No recordings are needed: `speech` synthesises sound, and what is compared
is the network with its own fp32 outputs.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import RealModel, data_file
from .speech import speech

RATE = 16_000
CHUNK = 512
CONTEXT = 64
"""Samples of the chunk before that a chunk begins with."""
FILTERS, HOP, BINS = 256, 128, 129
ENCODER = ((BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
"""Input channels, output channels, stride."""
UNITS = 128
EXAMPLE = 60
"""Chunk that is the example input."""
THRESHOLD = 0.5
"""Probability from which on a chunk is speech."""
State = tuple[torch.Tensor, torch.Tensor]


class SileroVad(nn.Module):
    """One step of the detector."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv2d(1, 2 * BINS, (1, FILTERS), (1, HOP), bias=False)
        self.encoder = nn.ModuleList(
            nn.Conv2d(inputs, outputs, (1, 3), (1, stride), padding=(0, 1))
            for inputs, outputs, stride in ENCODER
        )
        self.input_gates = nn.Linear(UNITS, 4 * UNITS)
        self.hidden_gates = nn.Linear(UNITS, 4 * UNITS)
        self.output = nn.Linear(UNITS, 1)

    def forward(
        self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the probability of speech and the next state.

        Parameters
        ----------
        x : torch.Tensor
            float32 (B, 64 + 512): the end of the chunk before, and the chunk, in [-1, 1].
        hidden, cell : torch.Tensor
            float32 (B, 128) each; zeros at the beginning.

        Returns
        -------
        tuple of torch.Tensor
            float32 (B, 1), (B, 128), (B, 128).
        """
        # Mirrored by slices: the importer has no reflecting pad.
        x = torch.cat([x, x[:, -CONTEXT - 1 : -1].flip(1)], dim=1)
        spectrum = self.stft(x[:, None, None])
        real, imaginary = spectrum[:, :BINS], spectrum[:, BINS:]
        x = torch.sqrt(real * real + imaginary * imaginary)
        for convolution in self.encoder:
            x = F.relu(convolution(x))
        gates = self.input_gates(x.flatten(1)) + self.hidden_gates(hidden)
        take, forget, value, give = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(take) * torch.tanh(value)
        hidden = torch.sigmoid(give) * torch.tanh(cell)
        return torch.sigmoid(self.output(F.relu(hidden))), hidden, cell


def _state_dict() -> dict[str, torch.Tensor]:
    with np.load(data_file("silero_vad", "silero_16k_op15_weights.npz")) as file:
        found = {name: torch.from_numpy(file[name]) for name in file.files}
    names = {"stft.weight": found["stft_forward_basis_buffer"][:, :, None]}
    for number in range(len(ENCODER)):
        weight = found[f"encoder_{number}_reparam_conv_weight"]
        names[f"encoder.{number}.weight"] = weight[:, :, None]
        names[f"encoder.{number}.bias"] = found[f"encoder_{number}_reparam_conv_bias"]
    for ours, theirs in (("input_gates", "ih"), ("hidden_gates", "hh")):
        names[f"{ours}.weight"] = found[f"decoder_rnn_weight_{theirs}"]
        names[f"{ours}.bias"] = found[f"decoder_rnn_bias_{theirs}"]
    names["output.weight"] = found["decoder_decoder_2_weight"][:, :, 0]
    names["output.bias"] = found["decoder_decoder_2_bias"]
    return names


def start(batch: int) -> State:
    """Return the state before the first chunk."""
    return torch.zeros(batch, UNITS), torch.zeros(batch, UNITS)


def chunks(sound: torch.Tensor) -> torch.Tensor:
    """Cut float32 (B, samples) into what the network takes: (chunks, B, 64 + 512)."""
    count = sound.shape[1] // CHUNK
    padded = F.pad(sound[:, : count * CHUNK], (CONTEXT, 0))
    return padded.unfold(1, CONTEXT + CHUNK, CHUNK).transpose(0, 1).contiguous()


def _calls(module: SileroVad, batch: int, seed: int) -> list[tuple[torch.Tensor, ...]]:
    """Return a call for each chunk of sounds, with the states that the network itself leaves."""
    state, calls = start(batch), []
    with torch.no_grad():
        for x in chunks(speech(batch, seed)):
            calls.append((x, *state))
            _, *state = module(x, *state)
    return calls


@functools.cache
def decisions(seed: int, batch: int) -> list[torch.Tensor]:
    """Return where fp32 hears speech in `speech(batch, seed)`: bool (batch, 1) for each chunk."""
    module = load(batch).module
    with torch.no_grad():
        return [module(*call)[0] >= THRESHOLD for call in _calls(module, batch, seed)]


@functools.cache
def load(batch: int = 1) -> RealModel:
    """Load the detector for chunks of `batch` sounds: float32 (batch, 576) and (batch, 128) twice.

    Calibration gets chunks of `speech` spread evenly over the sounds, beginnings and silence too,
    with the states that earlier chunks left in fp32.
    """
    module = SileroVad()
    module.load_state_dict(_state_dict())
    module.eval()

    def batches(count: int = 4) -> list[tuple[torch.Tensor, ...]]:
        # Seed 1, so that calibration doesn't hear the example.
        calls = _calls(module, batch, seed=1)
        if count > len(calls):
            raise ValueError(f"count {count}; a sound has {len(calls)} chunks")
        return [calls[(number * len(calls)) // count] for number in range(count)]

    # In the middle of a syllable for the first sound: neither silence nor an empty state.
    example = _calls(module, batch, seed=0)[EXAMPLE]
    return RealModel("silero", module, example, batches)
