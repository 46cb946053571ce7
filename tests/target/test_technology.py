"""target/technology.py, target/area.py: sources of every figure, mistakes, sums of instances."""

import dataclasses
import re

import pytest

from benchmarks.published import gates
from microscopiq.target.arch import Arch, arch_names, load_arch
from microscopiq.target.area import area, compute_um2, peak_tops, peaks, recon_segments, to_json
from microscopiq.target.errors import ConfigError
from microscopiq.target.tables import read_table
from microscopiq.target.technology import (
    LARGEST,
    TECHNOLOGY_DIR,
    Technology,
    entry_docs,
    from_table,
    load_technology,
    technology_names,
    unit,
)

UNITS = {"um2", "um2 per byte", "pJ", "pJ per byte", "pJ per bit", "pJ per bit product",
         "um2 per bit", "pJ per bit per mm"}  # fmt: skip


def _table(name: str = "tsmc7") -> dict:
    return read_table("technology", name, TECHNOLOGY_DIR)[0]


@pytest.mark.parametrize("name", technology_names())
def test_shipped_technology_loads(name):
    table = load_technology(name)
    assert table.name == name and load_technology(table) is table
    assert load_technology(TECHNOLOGY_DIR / f"{name}.toml") == table
    assert list(table.entries()) == list(entry_docs())
    for entry, row in table.entries().items():
        assert 0 < row.value <= LARGEST and row.source.strip(), entry


def test_units_are_in_the_names():
    assert {unit(name) for name in entry_docs()} == UNITS


def test_every_name_means_an_attribute():
    names = {field.name for field in dataclasses.fields(Technology)}
    assert names == {"name", "description", "node_nm", *entry_docs()}


def test_published_anchors_give_the_entries():
    """Each value of tsmc7 that is no figure of Table 5, by the formula that its source states."""
    value = {name: row.value for name, row in load_technology("tsmc7").entries().items()}
    add, multiply, register = 0.03 / 32, 0.07 / 64, 0.0090 * 0.3
    expected = {
        "plain_pe_8bit_um2": 4 * 2.51 + 0.68,
        "temporal_pe_um2": 10.72 * gates.temporal_pe().um2 / gates.mac_pe(8).um2,
        "group_decoder_um2": 2.51 * gates.group_decoder().um2 / gates.mac_pe(4).um2,
        "product_shifter_um2": 2.51 * gates.product_shifter().um2 / gates.mac_pe(4).um2,
        "recon_switch_um2": 204.68 / (64 * 6),
        "sync_buffer_word_um2": 20.45 / (64 * 63 / 2),
        "weight_register_um2_per_bit": 0.059 * gates.weight_register().um2,
        "replay_multiplexer_um2_per_bit": 0.059 * gates.replay_multiplexer().um2,
        "weight_bus_pj_per_bit_per_mm": 200 / 256 / 10,
        "vector_lane_um2": 0.059 * (7700 + 4184),
        "sram_um2_per_byte": 8 * 0.027 / (0.021 * 31.8 * 2**20 / 1e6),
        "multiply_pj_per_bit_product": multiply,
        "add_pj_per_bit": add,
        "register_pj_per_bit": register,
        "recon_switch_pj_per_bit": add + register,
        "sync_buffer_pj_per_bit": 2 * register,
        "vector_op_pj": 1.31 + 0.38,
        "sram_8kb_pj_per_byte": 7.5 / 8,
        "sram_32kb_pj_per_byte": 8.5 / 8,
        "sram_1mb_pj_per_byte": 14 / 8,
        "dram_pj_per_byte": 3.9 * 8,
        "instruction_pj": 70 / 2.6,
    }
    assert {name: value[name] for name in expected} == pytest.approx(expected, rel=0.005)


def test_scaled_rtl():
    """The authors' 28 nm area report (A6) times 0.18; other PEs by the ratio of their cells."""
    table = load_technology("rtl7")
    pe, whole = 0.18 * 186.1, gates.multi_precision_pe().um2
    expected = {
        "multi_precision_pe_um2": pe * gates.mac_pe(4).um2 / whole,
        "multi_precision_unit_um2": pe * (1 - gates.mac_pe(4).um2 / whole),
        "plain_pe_4bit_um2": pe * gates.mac_pe(4).um2 / whole,
        "plain_pe_8bit_um2": pe * gates.mac_pe(8).um2 / whole,
        "temporal_pe_um2": pe * gates.temporal_pe().um2 / whole,
        "group_decoder_um2": pe * gates.group_decoder().um2 / whole,
        "exponent_pe_um2": pe * gates.exponent_pe().um2 / whole,
        "joined_pes_um2": pe * gates.joined_pes().um2 / whole,
        "pair_decoder_um2": pe * gates.pair_decoder().um2 / whole,
        "wide_decoder_um2": pe * gates.pair_decoder(8, 5).um2 / whole,
        "product_shifter_um2": pe * gates.product_shifter().um2 / whole,
        "recon_switch_um2": 0.18 * 747.9 / 24,
        "control_um2": 0.18 * 202.7,
    }
    value = {name: row.value for name, row in table.entries().items()}
    assert {name: value[name] for name in expected} == pytest.approx(expected, rel=0.005)
    rest = entry_docs().keys() - expected.keys()
    assert all(table.entries()[name] == load_technology("tsmc7").entries()[name] for name in rest)


def test_counted_cells():
    """nangate45 holds the areas of benchmarks/published/gates.py, and its texts their counts."""
    value = load_technology("nangate45").entries()
    structures = {
        "multi_precision_pe_um2": gates.mac_pe(4),
        "plain_pe_4bit_um2": gates.mac_pe(4),
        "plain_pe_8bit_um2": gates.mac_pe(8),
        "temporal_pe_um2": gates.temporal_pe(),
        "group_decoder_um2": gates.group_decoder(),
        "exponent_pe_um2": gates.exponent_pe(),
        "joined_pes_um2": gates.joined_pes(),
        "pair_decoder_um2": gates.pair_decoder(),
        "wide_decoder_um2": gates.pair_decoder(8, 5),
        "product_shifter_um2": gates.product_shifter(),
        "weight_register_um2_per_bit": gates.weight_register(),
        "replay_multiplexer_um2_per_bit": gates.replay_multiplexer(),
        "recon_switch_um2": gates.recon_switch(),
        "sync_buffer_word_um2": gates.sync_buffer_word(),
    }
    for name, cells in structures.items():
        assert value[name].value == pytest.approx(cells.um2, abs=0.05), name
        counted = sorted(map(int, re.findall(r"\b(\d+) (?!nm)", value[name].source)))
        assert counted == sorted(cells.counts.values()), name
    unit_um2 = gates.multi_precision_pe().um2 - gates.mac_pe(4).um2
    assert value["multi_precision_unit_um2"].value == pytest.approx(unit_um2, abs=0.05)


def test_area_of_replay():
    """Each list of inputs has a network of log2(128) ranks, and registers in each row and plane."""
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), replay_columns=64)
    added = area(arch)[len(area(dataclasses.replace(arch, replay_columns=0))) :]
    parts = {part.name: part.count for part in area(arch) if part.name.startswith("replay")}
    # 128 columns of 2 bits are two lists; a shift of 5 bits, an input of 7, the row's code.
    assert parts == {
        "replay multiplexer bit": 2 * 7 * 128 * 8 + 64 * 8,
        "replay list bit": 2 * 64 * 2 * (5 + 7 + 1),
    }
    assert len(added) == 2
    plain = dataclasses.replace(arch, weight_formats=("int4",))
    assert not any(part.name.startswith("replay") for part in area(plain))


def test_energy_of_a_memory_grows_with_its_size():
    for name in technology_names():
        table = load_technology(name)
        sizes = [1 << power for power in range(6, 31)]
        energies = [table.sram_pj_per_byte(size) for size in sizes]
        assert energies == sorted(set(energies))
        for size, entry in ((8, "8kb"), (32, "32kb"), (1024, "1mb")):
            found = table.sram_pj_per_byte(size << 10)
            assert found == pytest.approx(table.entries()[f"sram_{entry}_pj_per_byte"].value)


def test_area_of_pairs():
    """Table 5's OliVe to the part, but for its controller: 95.49 um2, and MicroScopiQ's 105.78."""
    parts = {part.name: (part.count, part.entry.value) for part in area(load_arch("olive-64x64"))}
    assert {name: parts[name] for name in list(parts)[:5]} == {
        "exponent-integer PE": (4096, 2.51),
        "joined PEs": (1024, 0.68),
        "pair decoder": (128, 1.86),
        "wide decoder": (64, 2.47),
        "controller": (1, 105.78),
    }
    whole = compute_um2(area(load_arch("olive-64x64")))
    assert whole == pytest.approx(11468.93 + 105.78 - 95.49)
    # PEs that take whole activations have no shifter of their own.
    plain = dataclasses.replace(load_arch("microscopiq-64x64"), pair_decoders=1)
    assert {p.name: p.count for p in area(plain)}["product shifter"] == 4096


def test_area_of_planes_and_buses():
    """Of 64 x 64 PEs of 4 bits: a bit for each of two more planes; seven more buses of 339 wires,
    256 of weights, 6 for each of 8 micro-blocks (one of 8 rows, of 4 planes, an enable), 32 of an
    outlier's metadata and 3 for its micro-block."""
    arch, table = load_arch("microscopiq-64x64"), load_technology("tsmc7")
    before = {part.name: part for part in area(arch)}
    more = dataclasses.replace(arch, weight_planes=4, weight_buses=8)
    parts = {part.name: part for part in area(more)}
    added = {name: part.count for name, part in parts.items() if name not in before}
    assert added == {"plane bit": 2 * 64 * 64 * 4, "weight bus bit": 7 * 339}
    assert {parts[name].entry for name in added} == {table.weight_register_um2_per_bit}
    plain = dataclasses.replace(more, recon_units=0, weight_formats=("int4",))
    assert {p.name: p.count for p in area(plain)}["weight bus bit"] == 7 * 304


def test_all_mistakes_are_named_at_once(tmp_path):
    text = (TECHNOLOGY_DIR / "tsmc7.toml").read_text()
    text = text.replace("[add_pj_per_bit]", "[ad_pj_per_bit]").replace("node_nm = 7", "node_nm = 0")
    text = text.replace("value = 105.78", "value = -1").replace("value = 31.2", "price = 31.2")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_technology(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 6 mistake(s):"
    assert lines[1].startswith("  unknown entry 'ad_pj_per_bit'; did you mean add_pj_per_bit")
    assert lines[2:] == [
        "  missing entry 'add_pj_per_bit' (integer adder)",
        "  node_nm = 0: allowed integers from 1 to 1000",
        "  control_um2: value = -1: allowed numbers above 0, up to 1,000,000",
        "  dram_pj_per_byte: unknown key 'price'; did you mean source? (allowed: source, value)",
        "  dram_pj_per_byte: missing key 'value'",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (7.0, "control_um2: 7.0: a table with value and source is needed"),
        ({"value": True, "source": "x"}, "control_um2: value = True: allowed numbers above 0"),
        ({"value": 0, "source": "x"}, "value = 0: allowed numbers above 0, up to 1,000,000"),
        ({"value": float("nan"), "source": "x"}, "value = nan: allowed numbers above 0"),
        ({"value": 2e6, "source": "x"}, "value = 2000000.0: allowed numbers above 0"),
        ({"value": 1.0, "source": " "}, "source = ' ': text is needed that says where the value"),
        ({"value": 1.0}, "control_um2: missing key 'source'"),
    ],
)
def test_entry_mistake(row, message):
    with pytest.raises(ConfigError, match=message):
        from_table({**_table(), "control_um2": row}, "here")


def test_unknown_technology_gives_the_nearest_names():
    with pytest.raises(ConfigError, match=r"unknown technology 'tsmc8'; did you mean tsmc7\?"):
        load_technology("tsmc8")
    with pytest.raises(ConfigError, match=r"technology file not found: /no/such\.toml"):
        load_technology("/no/such.toml")


def test_one_base(tmp_path):
    path = tmp_path / "mine.toml"
    head = 'name = "mine"\ndescription = "mine"\n'
    path.write_text(head + 'base = "rtl7"\n')
    with pytest.raises(ConfigError, match=r"rtl7\.toml has a base of its own; allowed: one"):
        load_technology(path)
    path.write_text(head + 'base = "tsmc7"\n[control_um2]\nvalue = 1\nsource = "me"\n')
    table = load_technology(path)
    assert (table.name, table.control_um2.value) == ("mine", 1.0)
    assert table.dram_pj_per_byte == load_technology("tsmc7").dram_pj_per_byte
    (tmp_path / "sub").mkdir()
    below = tmp_path / "sub" / "below.toml"
    (tmp_path / "tsmc.toml").write_text((TECHNOLOGY_DIR / "tsmc7.toml").read_text())
    below.write_text(head + 'base = "../tsmc.toml"\n')
    # A path starts from the file that has it, not from where the process happens to be.
    assert load_technology(below).control_um2 == load_technology("tsmc7").control_um2


@pytest.mark.parametrize("name", arch_names())
def test_areas_add_up(name):
    arch = load_arch(name)
    parts = area(arch)
    text = to_json(arch, load_technology(arch.technology), parts)
    assert text["um2"] == pytest.approx(
        sum(row["um2_each"] * row["count"] for row in text["parts"])
    )
    assert all(row["source"] for row in text["parts"])
    assert 0 < compute_um2(parts) < text["um2"]
    assert text["peaks"].keys() == set(arch.weight_formats)


def test_area_grows_with_every_part():
    arch = load_arch("microscopiq-64x64")
    base = sum(part.um2 for part in area(arch))
    for key in ("array_rows", "array_cols", "recon_units", "vector_lanes", "wbuf_bytes"):
        more: Arch = dataclasses.replace(arch, **{key: 2 * getattr(arch, key)})
        assert sum(part.um2 for part in area(more)) > base, key
    none = dataclasses.replace(arch, recon_units=0, weight_formats=("int4",))
    assert {part.component for part in area(none)} == {part.component for part in area(arch)} - {
        "recon"
    }


def test_recon_is_counted_by_switch():
    """MicroScopiQ A3: n (log2 n + 1) switches; the first rank and the last are one together."""
    arch = load_arch("microscopiq-64x64")
    cases = {0: (1, 64, 384, 64 * 63 // 2), 8: (8, 8, 8 * 24, 8 * 8 * 7 // 2)}
    for segment, (segments, columns, switches, places) in cases.items():
        found = dataclasses.replace(arch, recon_segment_columns=segment)
        assert recon_segments(found) == (segments, columns)
        assert [p.count for p in area(found) if p.component == "recon"] == [switches, places]
    # Eight columns that work in the same cycle have no skew; 64 have that of their 8 groups.
    for segment, places in {8: 0, 0: 8 * 28}.items():
        found = dataclasses.replace(arch, recon_segment_columns=segment, skew_columns=8)
        assert [p.count for p in area(found) if p.component == "recon"][1] == places


def test_wider_weights_take_wider_pes():
    arch = load_arch("int4-64x64")
    table = load_technology("tsmc7")
    assert area(arch)[0].um2 == 4096 * table.plain_pe_4bit_um2.value
    wide = dataclasses.replace(arch, pe_weight_bits=5)
    assert area(wide)[0].um2 == 4096 * table.plain_pe_8bit_um2.value
    tiny = load_arch("tiny-4x4")  # 8-bit multi-precision PEs: two of the table each
    assert [part.count for part in area(tiny)[:2]] == [32, 32]


def test_peak_is_two_operations_per_weight_and_cycle():
    """MicroScopiQ A3: 16.4 TOPS at 2 bits, 8.2 at 4 bits, 64x64 at 1 GHz."""
    arch = load_arch("microscopiq-64x64")
    assert [peak_tops(arch, bits) for bits in (2, 4, 8)] == [16.384, 8.192, 4.096]
    parts = area(arch)
    assert peaks(arch, parts)["ms2"]["tops_per_mm2"] == pytest.approx(
        16.384 / (compute_um2(parts) / 1e6)
    )
