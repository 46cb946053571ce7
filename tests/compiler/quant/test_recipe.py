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
[options]
sigmas = 2.5
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
    assert recipe.for_layer("any")[:2] == (recipe.method, recipe.weight_format)


def test_first_matching_override_wins(tmp_path):
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.for_layer("model.head") == ("rtn", "int8", {})
    assert recipe.for_layer("model.body") == ("microscopiq", "ms4", {"sigmas": 2.5})


def test_migration_is_off_unless_given(tmp_path):
    assert load_recipe(written(tmp_path, GOOD)).migration is None
    strong = GOOD.replace("[options]", "migration = 0.7\n[options]")
    assert load_recipe(written(tmp_path, strong)).migration == 0.7
    named = GOOD.replace("[options]", "migration = 'awq'\n[options]")
    assert load_recipe(written(tmp_path, named)).migration == "awq"


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown recipe 'microscopic-w4a8'; did you mean micro"):
        load_recipe("microscopic-w4a8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('method = "rtn"', 'method = "gtpq"', "unknown method 'gtpq'"),
        ('"int8"', '"fineq"', "method 'rtn' has no weight format 'fineq'"),
        ("2.5", '"three"', "method 'microscopiq': sigmas = 'three': a number is needed"),
        ("2.5", "true", "method 'microscopiq': sigmas = True: a number is needed"),
        ("sigmas = 2.5", "prune = 1", "prune = 1: true or false is needed"),
        ("sigmas = 2.5", "refinements = 1.5", "refinements = 1.5: an integer or a text is needed"),
        ('"mine"', "3", "name = 3: a text is needed"),
        ('"rtn"', '["rtn"]', "method = ['rtn'\\]: a text is needed"),
        ('"*head*"', "7", "pattern = 7: a text is needed"),
        ("sigmas", "sigma", "method 'microscopiq': unknown option 'sigma'; did you mean sigmas"),
        ("2.5", "-1", "sigmas = -1; allowed: above 0"),
        ("sigmas = 2.5", "damping = 'auto'", "damping = 'auto'; allowed: a number above 0 or"),
        ("sigmas = 2.5", "inlier_scale = 'best'", "unknown inlier scale 'best'"),
        ("[options]\nsigmas =", "options =", r"options = 2.5: an [options] table is needed"),
        ("pattern", "patern", "unknown override key 'patern'; did you mean pattern"),
        ('activation = "mx-int8"', "", "missing key 'activation'"),
        ('"mx-int8"', '"fp8"', "unknown activation format 'fp8'"),
        ('"int8"', '"fp32"', "weight_format = 'fp32' leaves layers as they are: drop method"),
        ("[[overrides]]", "[[overrides2]]", "unknown key 'overrides2'; did you mean overrides"),
        (
            "[options]",
            "migration = 1.5\n[options]",
            "migration = 1.5: a number from 0 to 1",
        ),
        (
            "[options]",
            'kv_cache = "kv3"\n[options]',
            "unknown format of a cache 'kv3' (allowed: fp32, kv2",
        ),
        ("[options]", 'migration = "on"\n[options]', "migration = 'on': a number from 0"),
        ("[options]", "migration = true\n[options]", "migration = True: a number from 0"),
        ("[options]", "bias_correction = 1\n[options]", "bias_correction = 1: true or false"),
        ("method =", "method", "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("(", r"\(")):
        load_recipe(written(tmp_path, GOOD.replace(old, new)))


def test_overrides_are_tables(tmp_path):
    text = GOOD[: GOOD.index("[options]")] + "overrides = 3\n"
    with pytest.raises(ConfigError, match=r"overrides = 3: \[\[overrides\]\] tables are needed"):
        load_recipe(written(tmp_path, text))


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_recipe(path) == load_recipe(written(tmp_path, GOOD))
    path.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(ConfigError, match=f"{path}: not TOML: 'utf-8' codec can't decode"):
        load_recipe(path)
