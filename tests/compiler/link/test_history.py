"""compiler/link/history.py: against a table with an entry for each byte."""

from hypothesis import given
from hypothesis import strategies as st

from microscopiq.compiler.link.history import History
from microscopiq.target.isa.spec import Unit

SPANS = st.tuples(st.integers(0, 20), st.integers(1, 9)).map(lambda t: (t[0], t[0] + t[1]))
ACCESSES = st.lists(
    st.tuples(
        st.sampled_from(["spad", "obuf"]),
        st.sampled_from([Unit.ARRAY, Unit.VECTOR]),
        st.booleans(),
        SPANS,
    ),
    max_size=20,
)


@given(ACCESSES, st.sampled_from(["spad", "obuf"]), SPANS)
def test_the_last_call_of_each_unit(accesses, memory, span):
    history, table = History(), {}
    for call, (where, unit, wrote, (first, end)) in enumerate(accesses):
        history.add(where, unit, wrote, (first, end), call)
        for byte in range(first, end):
            table[where, unit, wrote, byte] = call
    wanted = {}
    for (where, unit, wrote, byte), call in table.items():
        if where == memory and span[0] <= byte < span[1]:
            wanted[unit, wrote] = max(call, wanted.get((unit, wrote), -1))
    found = {(unit, wrote): call for unit, wrote, call in history.last(memory, span)}
    assert found == wanted
