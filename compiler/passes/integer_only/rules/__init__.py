"""What becomes of each operator of fp32 in integers, a file for each kind of them."""

from . import choices, functions, moves, norms, products, sums
from .registry import RULES
from .truths import TRUTHS

__all__ = ["RULES", "TRUTHS", "choices", "functions", "moves", "norms", "products", "sums"]
