"""From a scheduled PrimFunc to a function of the program."""
