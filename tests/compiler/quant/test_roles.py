"""compiler/quant/roles.py: formats of activations by role, and mistakes in recipes."""

import pytest

from microscopiq.compiler.quant.recipe import load_recipe
from microscopiq.target.errors import ConfigError

HEAD = 'name = "mine"\ndescription = ""\nmethod = "rtn"\n'


def test_the_first_role_that_a_recipe_names_counts(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        HEAD + 'weight_format = "int4-g32"\nactivation = "mxint4"\n[activations]\n'
        'attention = "mxint8-g16"\nnonnegative = "mxuint4"\n'
    )
    recipe = load_recipe(file)
    assert recipe.activation_of(()) == "mxint4"
    assert recipe.activation_of(("inputs",)) == "mxint4"
    assert recipe.activation_of(("inputs", "nonnegative")) == "mxuint4"
    assert recipe.activation_of(("nonnegative", "attention")) == "mxint8-g16"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            'activation = "mxuint4"',
            "activation = 'mxuint4' has no codes below 0: allowed as nonnegative of [activations]",
        ),
        ('activations = "mxint4"', "activations = 'mxint4': an [activations] table is needed"),
        (
            'activation = "fp32"\n[activations]\ninputs = "mx-int8"',
            "[activations] go with formats of the array, not 'fp32'",
        ),
        ('[activations]\ninput = "mx-int8"', "unknown role of activations 'input'"),
        ('[activations]\ninputs = "mxuint4"', "unknown activation format of inputs 'mxuint4'"),
        (
            '[activations]\ninputs = "mxint8-g16"',
            "weight_format = 'int4-g32' has groups of 32 inputs beside inputs = 'mxint8-g16' with "
            "blocks of 16: allowed nvfp4, nvint4, ms4-g16",
        ),
    ],
)
def test_mistakes(tmp_path, lines, message):
    file = tmp_path / "mine.toml"
    activation = "" if lines.startswith("activation =") else 'activation = "mxint4"\n'
    file.write_text(f'{HEAD}weight_format = "int4-g32"\n{activation}{lines}\n')
    with pytest.raises(ConfigError) as error:
        load_recipe(file)
    assert message in str(error.value)
    assert "1 mistake" in str(error.value)
