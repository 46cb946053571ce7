"""Random numbers: a program computes the same in every run, so these are refused by name.

TVM's importer would make constants of them, zeros, or leave them out.
"""

from .registry import converter, refused


@converter(
    "rand.default",
    "rand_like.default",
    "randn.default",
    "randn_like.default",
    "randint.low",
    "randperm.default",
    "exponential.default",
    "bernoulli.p",
    "normal_functional.default",
)
def random(node, _importer):
    raise refused(
        node, "random numbers aren't supported; pass them as an input, and export in eval mode"
    )
