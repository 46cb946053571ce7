"""A matrix of models: what people use, in tiny random configurations, through the whole path.

A file here has the architectures of one family and registers each with `architecture`.
"""
