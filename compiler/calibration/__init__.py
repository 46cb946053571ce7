"""Calibration: runs a model on samples and gathers what its weights' quantizers want to know."""
