"""Turns what is left of a module, as PrimFuncs, into operators of the vector unit."""
