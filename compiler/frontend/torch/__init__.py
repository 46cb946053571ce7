"""PyTorch models: exported, imported."""
