"""Writers of the generated pages in docs/: run ``python -m microscopiq.compiler.docs``."""
