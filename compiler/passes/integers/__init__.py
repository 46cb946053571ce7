"""Models that come quantized: products of their integers, and what surrounds these."""
