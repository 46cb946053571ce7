"""How near the fp32 model a quantized one must come. The integer path itself is bit-exact."""

import numpy as np

SQNR_DB = {
    # Codes of b bits under a scale that fits the largest of a group: about 6 dB a bit, less what
    # a bell-shaped group loses (its largest is at 2.5 to 3 sigma), less activations and layers.
    "int8": 30.0,
    "int4": 12.0,
    # One scale for a whole tensor instead.
    "integer-only": 25.0,
    # Scales are powers of two: up to 6 dB below a scale that fits.
    "microscopiq-w4a8": 10.0,
    "microscopiq-w2a8": 2.0,
    # Weights alone, a scale and a zero point for each group; GPTQ looks at the outputs instead.
    "rtn-w4a16": 14.0,
    "rtn-w2a16": 1.0,
    "gptq-w4a16": 14.0,
    "gptq-w2a16": 1.0,
    "gptq-w4a8": 12.0,
    "microscopiq-w4a16": 10.0,
    "microscopiq-w2a16": 2.0,
    # An activation's scale is a power of two as well, at 3 bits and a sign.
    "microscopiq-w4a4": 6.0,
    "microscopiq-w2a4": 1.0,
    # Shorter blocks, and a bit more behind ReLU.
    "microscopiq-w4a4-g32": 10.0,
    "microscopiq-w4a4-g16": 10.0,
    "microscopiq-w4a8-ordered": 10.0,
    "microscopiq-w2a8-ordered": 2.0,
    # Factors between activations and weights, which random layers gain nothing from.
    "smoothquant-w8a8": 30.0,
    "microscopiq-w4a8-migrated": 10.0,
    "microscopiq-w2a8-migrated": 2.0,
    "microscopiq-w4a4-migrated": 6.0,
    "microscopiq-w2a4-migrated": 1.0,
    "awq-w4a16": 14.0,
    "awq-w2a16": 1.0,
    "awq-w4a8": 12.0,
    # One scale per channel and per token; 3 bits of mantissa and a hidden one are 31 dB.
    "w8a8-int": 30.0,
    "w8a8-fp8": 25.0,
    "w4a16": 14.0,
    "microscopiq-w2a8-kv2": 2.0,
    # Levels of 2 bits where no outlier is near; the step fits each group of 128 weights.
    "fineq-w2a8": 2.0,
    # An outlier costs its neighbour; activations have 3 bits and a sign.
    "olive-w4a4": 6.0,
    # Steps that grow with the weight, and shorter groups: scales are powers of two, in 3 bits of
    # mantissa, in fp16.
    "mxfp4": 12.0,
    "nvfp4": 14.0,
    "nf4": 14.0,
    # Blocks of 32 on both sides: a power of two loses up to 6 dB, a short block fits more.
    "mxint8": 36.0,
    "mxint6": 24.0,
    "mxint4": 12.0,
}
"""Least signal to quantization noise, by recipe, of random layers and short chains of them."""


def sqnr_db(reference: np.ndarray, found: np.ndarray) -> float:
    """Return 10 log10 of the power of a signal over that of its error."""
    noise = float(np.square(reference.astype(np.float64) - found).sum())
    signal = float(np.square(reference.astype(np.float64)).sum())
    return 10 * np.log10(signal / noise) if noise else np.inf
