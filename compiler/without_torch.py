"""TVM without torch, which it imports when it is installed."""

import sys


def import_tvm() -> None:
    """Import TVM, but torch only when something asks for it.

    That is two thirds of the time and half of the memory of what takes no torch model: for
    processes that are ours alone. Where torch is wanted as well, TVM is there already.
    """
    if "tvm_ffi" in sys.modules or "torch" in sys.modules:
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # `import torch` is an ImportError
    try:
        import tvm  # noqa: F401
    finally:
        del sys.modules["torch"]
