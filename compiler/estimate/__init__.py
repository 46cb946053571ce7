"""Programs that are timed without data: presets, stand-in weights, decoder layers."""
