"""What each instruction means, in slow NumPy and without code in common with the core."""
