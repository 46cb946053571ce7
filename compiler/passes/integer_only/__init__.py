"""Models in integers alone: static scales, dyadic requantization, integer softmax and norms."""
