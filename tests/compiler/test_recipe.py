"""Recipes: the ones that come with the package, overrides, and messages."""

import pytest

from microscopiq.compiler.quant.recipe import load_recipe, recipe_names
from microscopiq.target.errors import ConfigError

GOOD = """
name = "mine"
description = "4 bits, the head at 8"
method = "microscopiq"
weight_format = "ms4"
activation = "mx-int8"
[[overrides]]
pattern = "*head*"
method = "rtn"
weight_format = "int8"
"""


def written(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.for_layer("any") == (recipe.method, recipe.weight_format)


def test_first_matching_override_wins(tmp_path):
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.for_layer("model.head") == ("rtn", "int8")
    assert recipe.for_layer("model.body") == ("microscopiq", "ms4")


def test_migration_is_off_unless_given(tmp_path):
    assert load_recipe(written(tmp_path, GOOD)).migration is None
    strong = GOOD.replace("[[overrides]]", "migration = 0.7\n[[overrides]]")
    assert load_recipe(written(tmp_path, strong)).migration == 0.7


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown recipe 'microscopic-w4a8'; did you mean micro"):
        load_recipe("microscopic-w4a8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('method = "rtn"', 'method = "gtpq"', "unknown method 'gtpq'"),
        ('"int8"', '"ms4"', "method 'rtn' has no weight format 'ms4'"),
        ("pattern", "patern", "unknown override key 'patern'; did you mean pattern"),
        ('activation = "mx-int8"', "", "missing key 'activation'"),
        ('"mx-int8"', '"fp8"', "unknown activation format 'fp8'"),
        (
            "[[overrides]]",
            "migration = 1.5\n[[overrides]]",
            "migration = 1.5: a number from 0 to 1",
        ),
        ("[[overrides]]", 'migration = "on"\n[[overrides]]', "migration = 'on': a number from 0"),
        ("[[overrides]]", "migration = true\n[[overrides]]", "migration = True: a number from 0"),
        ("[[overrides]]", "overrides = 3\n[extra]", "tables are needed"),
        ("method =", "method", "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_recipe(written(tmp_path, GOOD.replace(old, new)))
