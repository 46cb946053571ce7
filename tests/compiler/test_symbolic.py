"""compiler/symbolic.py: numbers that follow sizes, against the same arithmetic on plain ones."""

import copy
import pickle
import random

import pytest

from microscopiq.compiler.kinds.registry import from_attribute
from microscopiq.compiler.operators import Gemm, own_sizes, to_attribute
from microscopiq.compiler.symbolic import Symbol, Symbolic, largest, symbols_of, value_at
from microscopiq.target.errors import UnsupportedError
from microscopiq.target.weight import blocks

M, K = Symbol("m", 1, 200), Symbol("k", 1, 130)
OPERATIONS = (
    lambda x, c, d, k: x + c,
    lambda x, c, d, k: c - x,
    lambda x, c, d, k: c * x,
    lambda x, c, d, k: x // d,
    lambda x, c, d, k: x % d,
    lambda x, c, d, k: x * k,
    lambda x, c, d, k: blocks(x, d) - k,
)


def test_arithmetic_is_that_of_integers():
    rng = random.Random(1)
    for _ in range(500):
        points = [(rng.randint(1, 200), rng.randint(1, 130)) for _ in range(4)]
        number, plain = M.number, [m for m, _ in points]
        for _ in range(5):
            c, d, operation = rng.randint(-9, 9), rng.randint(1, 40), rng.choice(OPERATIONS)
            number = operation(number, c, d, K.number)
            plain = [operation(x, c, d, k) for x, (_, k) in zip(plain, points, strict=True)]
        for value, (m, k) in zip(plain, points, strict=True):
            assert value_at(number, {"m": m, "k": k}) == value, number
        assert int(number) == value_at(number, {"m": 200, "k": 130})
        assert pickle.loads(pickle.dumps(number)) == copy.deepcopy(number) == number


def test_terms_are_put_together():
    m, k = M.number, K.number
    assert type(m * k - k * m) is int
    assert blocks(m, 64) * 64 // 64 == blocks(m, 64)
    assert str(blocks(m, 64) * 64 * k - 5) == "64*((m+63)//64)*k-5"
    assert 12 * m * k // (4 * k) == 3 * m and type(12 * m // m) is int
    assert m != 200 and m != Symbol("n", 1, 200).number and {m: 1}[M.number] == 1


@pytest.mark.parametrize("quotient", [lambda m, k: m // k, lambda m, k: 7 // m])
def test_what_is_no_multiple(quotient):
    with pytest.raises(UnsupportedError, match="isn't known to be a multiple of"):
        quotient(M.number, K.number)


def test_operators_with_numbers_that_follow_sizes():
    op = Gemm(1, 1, 16 * M.number, 10, blocks(K.number, 3) * K.number, "")
    assert from_attribute(to_attribute(op)) == op
    assert largest(op) == Gemm(1, 1, 3200, 10, 44 * 130, "") and not symbols_of(largest(op))
    own = own_sizes(op)
    assert list(map(str, symbols_of(own))) == ["m", "k"] and largest(own) == largest(op)
    assert isinstance(own.m, Symbolic) and own_sizes(largest(op)) == largest(op)


def test_the_smaller_of_two_extents():
    """A slice up to a size, of what has as many elements as its bound or more, has that many."""
    import tvm

    from microscopiq.compiler.sizes import number_of, with_bounds

    n = tvm.tirx.Var("n", "int64")
    with with_bounds({"n": Symbol("n", 2, 40)}):
        number = number_of(n)
        assert number_of(tvm.tirx.min(n, 64)) == number_of(tvm.tirx.min(n + 1, n)) == number
        assert (
            number_of(tvm.tirx.min(n, 1)) == 1 and number_of(tvm.tirx.max(n - 1, 0)) == number - 1
        )
        assert number_of(tvm.tirx.min(n, 7)) is None is number_of(tvm.tirx.max(7, n))
    assert number_of(n) is None
