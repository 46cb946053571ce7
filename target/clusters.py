"""FineQ's clusters to bytes and back: 24 weights of one output channel in 7 bytes.

Three consecutive input channels of an output channel are a cluster of 6 bits. Two neighbouring
clusters share a pattern of 2 bits: 0 stores three weights of 2 bits each; 1, 2 or 3 says which
weight is zero and isn't stored, so that the two others have 3 bits. Codes are sign-magnitude with
the sign on top, what a sign-controlled adder takes, and lie low bits first.

A column's clusters come in groups of 8: 48 bits of payloads, then 8 bits of patterns. The 8 inputs
that 128 leave beyond five groups are a group of 3 clusters in the same order, 18 + 4 bits in 3
bytes. So 128 weights take 38 bytes, 2.375 bits each, where 24 take 2.333. A panel has all columns
of its first group, then all columns of the second, in the order in which the array's rows load.

After FineQ (DATE 2025); the shared pattern is a reconstruction, the rest of the layout is ours.
"""

import numpy as np

from .errors import InputError
from .formats import CLUSTER, CLUSTER_BITS, CLUSTER_GROUP, CLUSTER_PAIR

PATTERN_BITS = 2
SIGN, MAGNITUDE = 4, 3
"""Parts of the code of a decoded weight: 3 bits, sign-magnitude."""


def group_bytes(rows: int) -> int:
    """Return the bytes of one column's group of up to 24 rows."""
    clusters, pairs = -(-rows // CLUSTER), -(-rows // CLUSTER_PAIR)
    return -(-(clusters * CLUSTER_BITS + pairs * PATTERN_BITS) // 8)


def panel_bytes(rows: int, cols: int) -> int:
    """Return the bytes of the groups of a panel: of all its columns."""
    whole, rest = divmod(rows, CLUSTER_GROUP)
    return cols * (whole * group_bytes(CLUSTER_GROUP) + group_bytes(rest))


def pattern_count(inputs: int, group: int) -> int:
    """Return how many patterns an output channel has; pairs start anew in each group of inputs."""
    whole, rest = divmod(inputs, group)
    return whole * -(-group // CLUSTER_PAIR) + -(-rest // CLUSTER_PAIR)


def pack_clusters(slots: np.ndarray, pattern: np.ndarray) -> bytes:
    """Return the groups of a panel.

    Parameters
    ----------
    slots : numpy.ndarray
        uint8 ``(cols, rows)``: codes of 3 bits.
    pattern : numpy.ndarray
        uint8 ``(cols, pairs)``.

    Raises
    ------
    InputError
        For a weight that its cluster's pattern can't hold.
    """
    cols, rows = slots.shape
    padded = np.zeros((cols, pattern.shape[1] * CLUSTER_PAIR), np.uint8)
    padded[:, :rows] = slots
    weights = padded.reshape(cols, -1, CLUSTER)
    patterns = np.repeat(pattern, CLUSTER_PAIR // CLUSTER, axis=1)
    _check(weights, patterns)
    narrow = (weights & 1) | (weights & SIGN) >> 1
    payload = narrow[..., 0] | narrow[..., 1] << 2 | narrow[..., 2] << 4
    for zero in range(CLUSTER):
        low, high = (weights[..., at] for at in range(CLUSTER) if at != zero)
        payload = np.where(patterns == zero + 1, low | high << 3, payload)
    out = []
    for first in range(0, rows, CLUSTER_GROUP):
        end = min(first + CLUSTER_GROUP, rows)
        span = np.s_[first // CLUSTER : -(-end // CLUSTER)]
        pairs = np.s_[first // CLUSTER_PAIR : -(-end // CLUSTER_PAIR)]
        bits = [_bits(payload[:, span], CLUSTER_BITS), _bits(pattern[:, pairs], PATTERN_BITS)]
        out.append(np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little").tobytes())
    return b"".join(out)


def unpack_clusters(data: bytes, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return slots ``(cols, rows)`` and pattern ``(cols, pairs)``; inverts `pack_clusters`."""
    pattern = np.zeros((cols, -(-rows // CLUSTER_PAIR)), np.uint8)
    slots = np.zeros((cols, pattern.shape[1] * CLUSTER_PAIR), np.uint8)
    position = 0
    for first in range(0, rows, CLUSTER_GROUP):
        length = min(CLUSTER_GROUP, rows - first)
        size = group_bytes(length)
        raw = np.frombuffer(data, np.uint8, cols * size, position).reshape(cols, size)
        position += cols * size
        bits = np.unpackbits(raw, axis=1, bitorder="little")
        clusters, pairs = -(-length // CLUSTER), -(-length // CLUSTER_PAIR)
        split = clusters * CLUSTER_BITS
        payload = _numbers(bits[:, :split], CLUSTER_BITS)
        shared = _numbers(bits[:, split : split + pairs * PATTERN_BITS], PATTERN_BITS)
        pattern[:, first // CLUSTER_PAIR :][:, :pairs] = shared
        patterns = np.repeat(shared, CLUSTER_PAIR // CLUSTER, axis=1)[:, :clusters]
        weights = _decode(payload, patterns).reshape(cols, -1)
        slots[:, first : first + weights.shape[1]] = weights
    return slots[:, :rows], pattern


def _check(weights: np.ndarray, patterns: np.ndarray) -> None:
    """Refuse a code that its place in the cluster has no bits for."""
    place = np.arange(1, CLUSTER + 1)
    wide = (patterns[..., None] == 0) & (weights & MAGNITUDE > 1)
    zeroed = (patterns[..., None] == place) & (weights != 0)
    beyond = (patterns > CLUSTER)[..., None] | (weights > (SIGN | MAGNITUDE))
    if (wide | zeroed | beyond).any():
        column, cluster, at = np.argwhere(wide | zeroed | beyond)[0]
        raise InputError(
            f"column {column}, input {cluster * CLUSTER + at}: code {weights[column, cluster, at]} "
            f"in pattern {patterns[column, cluster]}; pattern 0 holds -1 to 1, pattern i a zero at "
            f"weight i and -{MAGNITUDE} to {MAGNITUDE} at the two others"
        )


def _decode(payload: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Return codes of 3 bits ``(cols, clusters, 3)``."""
    shifts = np.array([0, 2, 4], np.uint8)
    narrow = payload[..., None] >> shifts & 3
    codes = (narrow & 1) | (narrow & 2) << 1
    for zero in range(CLUSTER):
        wide = np.insert(np.stack([payload & 7, payload >> 3], axis=-1), zero, 0, axis=-1)
        codes = np.where((patterns == zero + 1)[..., None], wide, codes)
    return codes.astype(np.uint8)


def _bits(numbers: np.ndarray, width: int) -> np.ndarray:
    """Return ``(cols, count * width)`` bits of ``(cols, count)`` numbers, low bits first."""
    bits = numbers[..., None] >> np.arange(width, dtype=np.uint8) & 1
    return bits.reshape(len(numbers), -1).astype(np.uint8)


def _numbers(bits: np.ndarray, width: int) -> np.ndarray:
    """Return ``(cols, count)`` uint8 of ``(cols, count * width)`` bits; inverts `_bits`."""
    parts = bits.reshape(len(bits), -1, width) << np.arange(width, dtype=np.uint8)
    return parts.sum(-1, dtype=np.uint8)
