"""Changes of C++ sources, by the words of a line as clang-format writes them.

Left out: comments, strings, what `Fail` is told, and `case` labels. What doesn't compile, or gives
the same library, isn't counted (`run`).
"""

import re
from collections.abc import Iterator

from .change import Change

NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
MESSAGE = re.compile(
    r"\b(?:Fail\w*|static_assert)\([^;]*(?=;)|^#[^\n]*|\bcase [^:\n]*:", re.MULTILINE
)
FLIPS = {
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",),
    "!=": ("==",), "+": ("-",), "-": ("+",), "+=": ("-=",), "-=": ("+=",), "&&": ("||",),
    "||": ("&&",), "<<": (">>",), ">>": ("<<",), "&": ("|",), "|": ("&",),
}  # fmt: skip
BINARY = re.compile(r"(?<= )(<=?|>=?|==|!=|\+=?|-=?|&&?|\|\|?|<<|>>)(?= )")
STEP = re.compile(r"\+\+|--")
NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
EXTREME = re.compile(r"std::(min|max)\b")
CONDITION = re.compile(r"\b(?:if|while) \((.*)\) (?:\{|\w.*;| *;)$")
NOT = re.compile(r"!(?=[\w(])")
TERMS = re.compile(r"\breturn (.+) (?:[+*-]|&&|\|\|) ([^()]+);$")
STATEMENT = re.compile(
    r"^ +((?!return\b|using\b|const\b|auto\b|static\b|for\b|if\b|else\b)[\w*(].*;)$"
)
ENUM = re.compile(r"enum class (\w+)[^{;]*\{([^}]*)\}")


def enumerators(headers: list[str]) -> dict[str, str]:
    """Return the enumerator that takes the place of each, ``Name::kNext``, from its own enum."""
    following = {}
    for header in headers:
        for name, body in ENUM.findall(NOT_CODE.sub("", header)):
            members = re.findall(r"\b(k\w+)", re.sub(r"=[^,}]*", "", body))
            pairs = zip(members, [*members[1:], *members[:1]], strict=True)
            following |= {f"{name}::{a}": f"{name}::{b}" for a, b in pairs}
    return following


def cpp_changes(source: str, following: dict[str, str]) -> list[Change]:
    """Return the changes of a source; some of them don't compile."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])  # noqa: E731
    code = MESSAGE.sub(blank, NOT_CODE.sub(blank, source)).split("\n")
    lines, changes = source.split("\n"), []
    for number, line in enumerate(code):
        starts = not number or re.search(r"(?:[;{}:]|^) *$", code[number - 1])
        for begin, end, new in _variants(line.rstrip(), following, bool(starts)):
            old = lines[number]
            changed = old[:begin] + new + old[end:]
            text = [*lines[:number], changed, *lines[number + 1 :]]
            what = f"`{old.strip()}` -> `{changed.strip()}`"
            changes.append(Change(number + 1, what, lambda text=text: "\n".join(text)))
    return changes


def _variants(line: str, following: dict[str, str], starts: bool) -> Iterator[tuple[int, int, str]]:
    """Yield (begin, end, what to put there) of a line without comments and strings."""
    for found in BINARY.finditer(line):
        for new in FLIPS[found[0]]:
            yield *found.span(), new
    for found in STEP.finditer(line):
        yield *found.span(), "--" if found[0] == "++" else "++"
    for found in NUMBER.finditer(line):
        yield *found.span(), str(int(found[0]) + 1)
        yield *found.span(), str(int(found[0]) - 1)
    for found in EXTREME.finditer(line):
        yield *found.span(), "std::max" if found[1] == "min" else "std::min"
    for found in NOT.finditer(line):
        yield *found.span(), ""
    for found in re.finditer(r"\b\w+::k\w+", line):
        if found[0] in following:
            yield *found.span(), following[found[0]]
    if (found := CONDITION.search(line)) and _balanced(found[1]):
        yield *found.span(1), f"!({found[1]})"
    if (found := TERMS.search(line)) and _balanced(found[1]):
        yield found.start(1), found.end(2), found[1]
        yield found.start(1), found.end(2), found[2]
    if starts and (found := STATEMENT.match(line)) and _balanced(found[1]):
        yield *found.span(1), ";"


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0
