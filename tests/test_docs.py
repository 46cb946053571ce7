"""The reference pages: what is committed is what the registries say."""

from pathlib import Path

import pytest

from microscopiq.compiler.docs.__main__ import OUTPUTS
from microscopiq.compiler.partition.constraints import CONSTRAINTS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", OUTPUTS)
def test_pages_are_regenerated(name):
    assert (ROOT / name).read_text(encoding="utf-8") == OUTPUTS[name](), (
        f"{name} is out of date: python -m microscopiq.compiler.docs"
    )


def test_every_constraint_has_a_text_for_the_user():
    for constraints in CONSTRAINTS.values():
        for constraint in constraints:
            text = constraint.__doc__
            assert text and "\n" not in text and not text.endswith("."), constraint.__name__


def test_links_and_file_names_in_the_docs_exist():
    for page in [*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]:
        for word in page.read_text(encoding="utf-8").split("`")[1::2]:
            if word.startswith(("target/", "runtime/", "compiler/", "tests/", "docs/")):
                assert list(ROOT.glob(word)), f"{page.name}: {word}"
