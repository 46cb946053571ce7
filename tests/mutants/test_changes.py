"""tests/mutants: which changes are tried."""

from tests.mutants.cpp_changes import cpp_changes, enumerators
from tests.mutants.python_changes import python_changes

PYTHON = '''
def least(a: int = 3, b=None):
    """Of 2 numbers."""
    a = a or 0
    if a < 0:
        raise ValueError(f"{a - 1} < 0")
    return min(a, b) - 1
'''


def test_python_changes():
    """Strings, annotations and messages stay; what is left compiles and says what it changed."""
    found = python_changes(PYTHON)
    assert {change.what for change in found} == {
        "`def least(a: int = 3, b=None):` -> `def least(a: int = 4, b=None):`",
        "`def least(a: int = 3, b=None):` -> `def least(a: int = 2, b=None):`",
        "`a = a or 0` -> `pass`",
        "`a or 0` -> `a and 0`",
        "`a or 0` -> `a`",
        "`a or 0` -> `0`",
        "`a = a or 0` -> `a = a or 1`",
        "`a = a or 0` -> `a = a or -1`",
        "`if a < 0:` -> `if not a < 0:`",
        "`a < 0` -> `a <= 0`",
        "`a < 0` -> `a >= 0`",
        "`if a < 0:` -> `if a < 1:`",
        "`if a < 0:` -> `if a < -1:`",
        "`raise ValueError(f'{a - 1} < 0')` -> `pass`",
        "`min(a, b) - 1` -> `min(a, b) + 1`",
        "`min(a, b) - 1` -> `min(a, b)`",
        "`min(a, b) - 1` -> `1`",
        "`min(a, b)` -> `max(a, b)`",
        "`return min(a, b) - 1` -> `return min(a, b) - 2`",
        "`return min(a, b) - 1` -> `return min(a, b) - 0`",
    }
    for change in found:
        compile(change.source(), "changed", "exec")
    (negated,) = [change for change in found if "if not" in change.what]
    assert negated.line == 5 and negated.source().count("not a < 0") == 1


CPP = """
// 1 + 1 in a comment
int Least(int a, int b) {
  if (a < 0 && b != 1) Fail(kSimError, "both < 0", a + b);
  Count(Kind::kLast);
  return std::min(a, b) - limit;
}
"""


def test_cpp_changes():
    """Comments, strings and what `Fail` is told stay."""
    following = enumerators(["enum class Kind : uint8_t { kFirst = 1, kLast };  // as in B1"])
    assert following == {"Kind::kFirst": "Kind::kLast", "Kind::kLast": "Kind::kFirst"}
    found = {change.what.split(" -> ")[1] for change in cpp_changes(CPP, following)}
    rest = 'Fail(kSimError, "both < 0", a + b);`'
    conditions = [
        "a <= 0 && b != 1", "a >= 0 && b != 1", "a < 0 || b != 1", "a < 0 && b == 1",
        "a < 1 && b != 1", "a < -1 && b != 1", "a < 0 && b != 2", "a < 0 && b != 0",
        "!(a < 0 && b != 1)",
    ]  # fmt: skip
    assert found == {f"`if ({condition}) {rest}" for condition in conditions} | {
        "`;`",
        "`Count(Kind::kFirst);`",
        "`return std::max(a, b) - limit;`",
        "`return std::min(a, b) + limit;`",
        "`return std::min(a, b);`",
        "`return limit;`",
    }
