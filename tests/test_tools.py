"""What checks the tree: constraints fit the project, hooks see the files that make sees."""

import re
import subprocess
from pathlib import Path

import hypothesis
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from microscopiq.target.tables import read_table

ROOT = Path(__file__).parents[1]


def constraints() -> dict[str, str]:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): release for name, release in pins}


def requirements() -> list[Requirement]:
    project = read_table("project", ROOT / "pyproject.toml", ROOT)[0]["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    return [Requirement(text) for text in texts if not text.startswith("microscopiq")]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda one: one.name)
def test_constraints_have_a_release_that_the_project_takes(requirement):
    if requirement.marker is None or requirement.marker.evaluate():
        assert constraints()[canonicalize_name(requirement.name)] in requirement.specifier


def test_constraints_are_plain():
    """No index, path or build of this machine: they hold anywhere."""
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", release) for release in constraints().values())


def test_hooks_check_the_files_that_make_checks():
    hook = (ROOT / ".pre-commit-config.yaml").read_text().split("id: clang-format")[1]
    (files,) = re.findall(r"files: (.*)", hook)
    (exclude,) = re.findall(r"exclude: (.*)", hook)
    tracked = subprocess.run(
        ["git", "ls-files", "*.cc", "*.h"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("no git checkout")
    seen = {
        name
        for name in tracked.stdout.split()
        if re.search(files, name) and not re.search(exclude, name)
    }
    made = subprocess.run(
        ["make", "--dry-run", "--always-make", "lint"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = (text for text in made.stdout.splitlines() if "clang-format --dry-run" in text)
    assert seen == {word for word in line.split() if word.endswith((".cc", ".h"))}
    assert any(name.startswith("runtime/fuzz/") for name in seen)


def test_cases_are_the_same_in_every_run(request):
    """`make nightly` names another profile, and a seed."""
    if request.config.getoption("--hypothesis-profile") is None:
        assert hypothesis.settings.default.derandomize
