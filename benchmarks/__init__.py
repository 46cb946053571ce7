"""Measurements: speed against peers, quality on real models. See README.md beside this file."""
