"""compiler/link/workspace.py: tensors that live together never overlap, others share."""

from hypothesis import given
from hypothesis import strategies as st

from microscopiq.compiler.link.workspace import ALIGNMENT, Life, shared_places

LIVES = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 9), st.integers(0, 4)).map(
        lambda t: Life(t[0], t[1], t[1] + t[2])
    ),
    max_size=12,
)


@given(LIVES)
def test_what_lives_together_lies_apart(lives):
    offsets, total = shared_places(lives)
    rows = [(o, o + life.size, life) for o, life in zip(offsets, lives, strict=True)]
    assert all(o % ALIGNMENT == 0 for o in offsets)
    assert total == max([end for _, end, _ in rows], default=0)
    for index, (low, high, life) in enumerate(rows):
        for other_low, other_high, other in rows[:index]:
            assert not life.meets(other) or high <= other_low or other_high <= low


def test_a_chain_needs_two_places():
    chain = [Life(64, n, n + 1) for n in range(9)]
    assert shared_places(chain) == ([0, 64] * 4 + [0], 128)


def test_the_smallest_gap_is_taken():
    # 256 bytes apart from 0 and 128 from 320 are free for the last two.
    lives = [Life(640, 0, 0), Life(256, 1, 1), Life(64, 1, 3), Life(128, 1, 1), Life(64, 1, 3),
             Life(128, 2, 2)]  # fmt: skip
    offsets, total = shared_places(lives)
    assert offsets == [0, 0, 384, 256, 448, 0]
    assert total == 640
