"""Functions of operators that follow each other, joined to one function of the program."""
