"""What the array runs of a model: layers, each a product with what is fused behind it.

Above `emit` and below `passes/migration` in the floors: passes and calibration both start from it.
"""
