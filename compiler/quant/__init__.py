"""Quantization: algorithms, recipes, metrics."""
