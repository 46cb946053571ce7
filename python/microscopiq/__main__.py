"""`python -m microscopiq`: the command `microscopiq`."""

from .compiler.cli.main import main

if __name__ == "__main__":
    main()
