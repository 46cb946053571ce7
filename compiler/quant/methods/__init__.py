"""One quantization algorithm per file; importing this package registers them all."""

from . import awq, fineq, gptq, microscopiq, rtn  # noqa: F401
