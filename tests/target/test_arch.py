"""target/arch.py: the shipped architectures, and every mistake of a file named at once."""

import dataclasses

import pytest

from microscopiq.target.arch import (
    ARCH_DIR,
    DEFAULT_ARCH,
    Arch,
    arch_names,
    from_table,
    integer_keys,
    load_arch,
)
from microscopiq.target.errors import ConfigError
from microscopiq.target.formats import WEIGHT_FORMATS
from microscopiq.target.tables import read_table
from microscopiq.target.technology import TECHNOLOGY_DIR


def _tiny_table() -> dict:
    return read_table("architecture", "tiny-4x4", ARCH_DIR)[0]


@pytest.mark.parametrize("name", arch_names())
def test_shipped_architecture_loads(name):
    arch = load_arch(name)
    assert arch.name == name
    assert arch.weight_formats and set(arch.weight_formats) <= set(WEIGHT_FORMATS)
    assert load_arch(arch) is arch
    assert load_arch(ARCH_DIR / f"{name}.toml") == arch


def test_default_is_shipped():
    assert DEFAULT_ARCH in arch_names()


def test_columns_follow_the_mode():
    """MicroScopiQ A3: one 4-bit or two 2-bit weights per PE; two PEs make an 8-bit weight."""
    arch = load_arch("microscopiq-64x64")
    assert [arch.columns(bits) for bits in (2, 4, 8)] == [128, 64, 32]
    # A weight of 3 bits takes a slot of 4.
    assert arch.columns(3) == 64 and load_arch("tiny-4x4").columns(3) == 8
    plain = load_arch("int8-64x64")
    assert [plain.columns(bits) for bits in (4, 8)] == [64, 64]


def test_three_mistakes_are_named_at_once(tmp_path):
    text = (ARCH_DIR / "tiny-4x4.toml").read_text()
    text = text.replace("array_rows = 4\n", "array_rows = 4096\n")
    text = text.replace("queue_depth = 8\n", "")
    text = text.replace('"int8"', '"int9"')
    path = tmp_path / "mine.toml"
    path.write_text(text)
    rows = next(f for f in integer_keys() if f.name == "array_rows").metadata
    with pytest.raises(ConfigError) as caught:
        load_arch(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 3 mistake(s):",
        "  missing key 'queue_depth' (instructions each unit's queue holds)",
        f"  array_rows = 4096: allowed {rows['low']} to {rows['high']}",
        "  unknown weight format 'int9'; did you mean int8 or int6 or int4? "
        f"(allowed: {', '.join(sorted(WEIGHT_FORMATS))})",
    ]


def test_no_more_buses_than_array_rows():
    with pytest.raises(ConfigError, match="weight_buses = 5: allowed up to array_rows = 4"):
        from_table({**_tiny_table(), "weight_buses": 5}, "here")


def test_unknown_architecture_gives_the_nearest_names():
    with pytest.raises(
        ConfigError, match=r"unknown architecture 'tiny-4x5'; did you mean tiny-4x4"
    ):
        load_arch("tiny-4x5")
    with pytest.raises(ConfigError, match=r"architecture file not found: /no/such\.toml"):
        load_arch("/no/such.toml")


def _write(folder, name: str, text: str):
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\ndescription = "mine"\n{text}')
    return path


def test_a_base_gives_what_a_file_leaves_out(tmp_path):
    """The machine is that of a file with all keys: equal in each of them, hash included."""
    path = _write(tmp_path, "mine", 'base = "tiny-4x4"\nqueue_depth = 16\n')
    full = {**_tiny_table(), "name": "mine", "description": "mine", "queue_depth": 16}
    expected = from_table(full, "here")
    assert load_arch(path) == expected and load_arch(path).hash == expected.hash
    (tmp_path / "sub").mkdir()
    near = _write(tmp_path / "sub", "near", 'base = "../full.toml"\narray_rows = 8\n')
    lines = (ARCH_DIR / "tiny-4x4.toml").read_text().replace('"tsmc7"', '"costs.toml"')
    (tmp_path / "full.toml").write_text(lines)
    (tmp_path / "costs.toml").write_text((TECHNOLOGY_DIR / "nangate45.toml").read_text())
    # A base is found from the file that names it, and the base's own paths from the base.
    assert load_arch(near).technology == str(tmp_path / "costs.toml")
    assert (load_arch(near).array_rows, load_arch(near).array_cols) == (8, 4)


def test_a_base_says_not_what_a_file_is(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "tiny-4x4"\narray_row = 4\n')
    with pytest.raises(ConfigError) as caught:
        load_arch(path)
    assert [line.split(";")[0] for line in str(caught.value).splitlines()] == [
        f"{path}: 3 mistake(s):",
        "  unknown key 'array_row'",
        "  missing key 'description' (text)",
        "  missing key 'name' (text)",
    ]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("7", r"mine\.toml: base = 7: a name or a \.toml path is needed"),
        ('"tiny-4x5"', r"mine\.toml: its base: unknown architecture 'tiny-4x5'; did you mean tiny"),
        ('"none.toml"', r"mine\.toml: its base: architecture file not found: /.*/none\.toml"),
        ('"int8-64x64"', r"its base .*int8-64x64\.toml has a base of its own; allowed: one"),
        ('"mine.toml"', r"its base .*mine\.toml has a base of its own; allowed: one"),
        ('"other.toml"', r"its base .*other\.toml has a base of its own; allowed: one"),
    ],
)
def test_no_such_base(tmp_path, base, message):
    """One base, not a chain: so there are no circles either, of one file or of two."""
    path = _write(tmp_path, "mine", f"base = {base}\n")
    _write(tmp_path, "other", 'base = "mine.toml"\n')
    with pytest.raises(ConfigError, match=message):
        load_arch(path)


def test_text_that_is_not_toml(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("array_rows = = 4")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load_arch(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        load_arch(path)


def test_changed_file_is_read_again(tmp_path):
    path = tmp_path / "mine.toml"
    text = (ARCH_DIR / "tiny-4x4.toml").read_text()
    path.write_text(text)
    assert load_arch(path).queue_depth == 8
    path.write_text(text.replace("queue_depth = 8", "queue_depth = 16"))
    assert load_arch(path).queue_depth == 16


@pytest.mark.parametrize("key", integer_keys(), ids=lambda key: key.name)
def test_every_number_has_a_range(key):
    low, high = key.metadata["low"], key.metadata["high"]
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=rf"{key.name} = {value}: allowed {low} to {high}"):
            from_table({**_tiny_table(), key.name: value}, "here")
    for value in (True, 4.0, "4"):
        with pytest.raises(ConfigError, match=rf"{key.name} = .*: an integer is needed"):
            from_table({**_tiny_table(), key.name: value}, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array_row": 4}, "unknown key 'array_row'; did you mean array_rows"),
        ({"name": 4}, "name = 4: text is needed"),
        ({"technology": 7}, "technology = 7: text is needed"),
        ({"technology": "tsmc8"}, r"unknown technology 'tsmc8'; did you mean tsmc7\?"),
        ({"technology": "mine.toml"}, r"technology file not found: mine\.toml"),
        ({"weight_formats": "ms2"}, "weight_formats = 'ms2': a list of names is needed"),
        ({"weight_formats": [2]}, r"weight_formats = \[2\]: a list of names is needed"),
        ({"array_cols": 3}, "weight format ms4: 4 bits leave 6 columns; a micro-block has 8"),
        ({"replay_columns": 12}, "replay_columns = 12: allowed 0 and multiples of 8, because"),
        (
            {"recon_units": 0},
            "weight format ms2 has outliers, but recon_units = 0 and replay_columns = 0",
        ),
        (
            {"multi_precision": 0, "pe_weight_bits": 4},
            "weight format int8 has 8 bits, pe_weight_bits = 4 and multi_precision = 0",
        ),
        (
            {"array_cols": 2, "pe_weight_bits": 4, "weight_formats": ["int8"]},
            "weight format int8: 8 bits leave 1 columns; .* any plane at least 2",
        ),
    ],
)
def test_mistake(change, message):
    with pytest.raises(ConfigError, match=message):
        from_table({**_tiny_table(), **change}, "here")


def test_technology_beside_the_architecture(tmp_path):
    texts = {"arch": (ARCH_DIR / "tiny-4x4.toml").read_text().replace('"tsmc7"', '"mine.toml"')}
    texts["mine"] = (TECHNOLOGY_DIR / "nangate45.toml").read_text()
    hashes = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name, text in texts.items():
            (folder / f"{name}.toml").write_text(text)
        arch = load_arch(folder / "arch.toml")
        assert arch.technology == str(folder / "mine.toml")
        hashes.add(arch.hash)
    assert len(hashes) == 1  # where the file lies is no property of the machine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"temporal_cycles": 2},
            r"temporal_cycles = 2: allowed 0 \(PEs multiply\), 3 or 4 .* 1 \(",
        ),
        ({"recon_units": 1}, "temporal_cycles = 3 with recon_units = 1: ReCoN merges products"),
        ({"replay_columns": 8}, "temporal_cycles = 3 with replay_columns = 8: clusters have no"),
        ({"pe_weight_bits": 4}, "pe_weight_bits = 4 and multi_precision = 0: allowed at most 3"),
        ({"multi_precision": 1}, "pe_weight_bits = 3 and multi_precision = 1: .* at most 3 and 0"),
        (
            {"weight_formats": ["fineq", "int4"]},
            "weight format int4 has 4 bits, pe_weight_bits = 3",
        ),
        (
            {"weight_formats": ["int4"]},
            "temporal_cycles = 3 with weight format int4: allowed clusters, magnitudes up to 3",
        ),
        ({"weight_formats": ["ms2"]}, "weight format ms2 has outliers, but recon_units = 0"),
    ],
)
def test_temporal_pes_go_with_few_things(change, message):
    """A sign and a magnitude up to 3 are all that such a PE holds."""
    arch = load_arch("fineq-64x64")
    table = {f.name: getattr(arch, f.name) for f in dataclasses.fields(Arch)}
    table["weight_formats"] = list(arch.weight_formats)
    with pytest.raises(ConfigError, match=message):
        from_table({**table, **change}, "here")
    for cycles in (0, 1, 3, 4):
        assert from_table({**table, "temporal_cycles": cycles}, "here").columns(3) == 64


@pytest.mark.parametrize(
    ("machine", "change", "message"),
    [
        ("olive-64x64", {"pair_decoders": 0},
         "weight format olive4 has outlier-victim pairs, but pair_decoders = 0"),
        ("olive-64x64", {"pe_activation_bits": 5},
         "pe_activation_bits = 5: allowed 4 and 8, halves of an activation and whole ones"),
        ("olive-64x64", {"pe_weight_bits": 8},
         "pe_activation_bits = 4 with pe_weight_bits = 8: allowed 4, as wide as the activations"),
        ("olive-64x64", {"multi_precision": 0},
         "pe_activation_bits = 4 with multi_precision = 0: allowed 1, wider weights join PEs"),
        ("microscopiq-64x64", {"pe_activation_bits": 4},
         "pe_activation_bits = 4 with recon_units = 1: allowed 0, ReCoN adds whole activations"),
    ],
)  # fmt: skip
def test_pairs_and_halves_go_with_few_things(machine, change, message):
    arch = load_arch(machine)
    table = {f.name: getattr(arch, f.name) for f in dataclasses.fields(Arch)}
    table["weight_formats"] = list(arch.weight_formats)
    with pytest.raises(ConfigError, match=message):
        from_table({**table, **change}, "here")


def test_wide_weights_take_halves_of_activations_in_turns():
    """Four PEs of 4 bits by 4 make 8 by 8: a quarter of the rate in half the columns."""
    olive, other = load_arch("olive-64x64"), load_arch("microscopiq-64x64")
    assert [olive.columns(bits) for bits in (4, 8)] == [64, 32]
    assert [olive.row_cycles(bits) for bits in (3, 4, 5, 8)] == [1, 1, 2, 2]
    assert [olive.code_bits(bits) for bits in (4, 8)] == [4, 8]
    assert {other.row_cycles(bits) for bits in range(2, 9)} == {1}
    assert {other.code_bits(bits) for bits in range(2, 9)} == {8}


def test_hash_follows_every_key():
    arch = from_table(_tiny_table(), "here")
    changes = {f.name: getattr(arch, f.name) + 1 for f in integer_keys()}
    changes |= {"name": "other", "description": "other", "weight_formats": ("ms2",)}
    changes |= {"technology": "rtl7"}
    assert changes.keys() == {f.name for f in dataclasses.fields(Arch)}
    hashes = {dataclasses.replace(arch, **{name: value}).hash for name, value in changes.items()}
    assert len(hashes | {arch.hash}) == len(changes) + 1
    assert from_table(_tiny_table(), "elsewhere").hash == arch.hash


def test_the_default_machine_decodes_what_the_papers_does():
    paper, default = load_arch("microscopiq-64x64"), load_arch(DEFAULT_ARCH)
    assert set(paper.weight_formats) <= set(default.weight_formats)
