"""One quantization algorithm per file; importing this package registers them all."""

from . import fineq, microscopiq, rtn  # noqa: F401
