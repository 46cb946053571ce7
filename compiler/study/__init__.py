"""Studies: what recipes, and the steps of one, cost and gain on a user's model."""
