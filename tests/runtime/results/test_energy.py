"""runtime/results/energy.py: each component by hand, sums, and what a run reports."""

import copy
import dataclasses
import json

import pytest
from tvm import relax

from microscopiq import Session
from microscopiq.runtime.results.energy import COMPONENTS, call_energy, no_energy
from microscopiq.runtime.results.result import merge
from microscopiq.target.arch import load_arch
from microscopiq.target.area import MEMORIES, area
from microscopiq.target.errors import ConfigError
from microscopiq.target.technology import TECHNOLOGY_DIR, load_technology
from tests.compiler import relax_modules as make

TABLE = load_technology("tsmc7")
ADD, HOLD = TABLE.add_pj_per_bit.value, TABLE.register_pj_per_bit.value
PRODUCT = TABLE.multiply_pj_per_bit_product.value
DEFAULT = load_arch("microscopiq-64x64").numbers()
CALL = {
    "instructions": 11,
    "macs": 1000,
    "weight_bits": 4,
    "vector_ops": 70,
    "accesses": {"activations": 40, "weights": 50, "sums_read": 0, "sums_written": 25},
    "recon": {"passes": 3, "second_passes": 1, "waits": 0, "switch_ops": 1344},
    "dram_bytes": {"read": 128, "written": 32},
    "dram_burst_bytes": {"read": 0, "written": 0},
    "memory_bytes": {name: {"read": 16, "written": 48} for name in MEMORIES},
}


def energy(call=CALL, numbers=DEFAULT, table=TABLE, **changes):
    return call_energy({**copy.deepcopy(call), **changes}, numbers, table)


def test_whole_bursts_cross_the_bus():
    found = energy(dram_burst_bytes={"read": 640, "written": 64})
    assert found["dram"] == pytest.approx(704 * 31.2)


def test_every_component_by_hand():
    found = energy()
    assert tuple(found) == COMPONENTS
    assert found["vector"] == pytest.approx(70 * 1.69)
    assert found["dram"] == pytest.approx(160 * 31.2)
    assert found["control"] == pytest.approx(11 * 26.9)
    for name in MEMORIES:
        assert found[name] == pytest.approx(64 * TABLE.sram_pj_per_byte(524288))
    switches = 1344 * 32 * TABLE.recon_switch_pj_per_bit.value
    buffer = 3 * 64 * 32 * TABLE.sync_buffer_pj_per_bit.value
    assert found["recon"] == pytest.approx(switches + buffer)
    mac = 4 * 8 * PRODUCT + 32 * (ADD + HOLD) + 8 * HOLD
    assert found["array"] == pytest.approx(1000 * mac + 50 * 4 * HOLD)


def test_wires_of_weight_buses():
    """Of 64 rows in 4 shares, three buses go past 32, 48 and 64 PEs of 3.04 um2; one goes free."""
    found = energy(numbers={**DEFAULT, "weight_buses": 4})["array"] - energy()["array"]
    length_mm = (32 + 48 + 64) / 4 * 3.04**0.5 / 1000
    wire = TABLE.weight_bus_pj_per_bit_per_mm.value
    assert found == pytest.approx(50 * 4 * length_mm * wire)


def test_zeros_beside_groups_take_the_energy_of_products():
    assert energy(macs=300, zero_macs=700) == energy(macs=1000)


@pytest.mark.parametrize(
    ("bits", "products", "sums", "passed"),
    [
        (2, 2 * 8, 1.0, 4.0),  # two weights share a PE and its activation
        (4, 4 * 8, 1.0, 8.0),
        (8, 8 * 8, 2.0, 16.0),  # two PEs for a weight: each adds and passes the activation on
    ],
)
def test_precision_of_the_weights(bits, products, sums, passed):
    found = energy(weight_bits=bits)["array"] - 50 * bits * HOLD
    mac = products * PRODUCT + sums * 32 * (ADD + HOLD) + passed * HOLD
    assert found == pytest.approx(1000 * mac)
    plain = {**DEFAULT, "multi_precision": 0, "pe_weight_bits": 8}
    found = energy(weight_bits=bits, numbers=plain)["array"] - 50 * bits * HOLD
    assert found == pytest.approx(1000 * (products * PRODUCT + 32 * (ADD + HOLD) + 8 * HOLD))


def test_temporal_coding_multiplies_by_adding():
    """A sum passes a PE in each of three cycles, and is added to in 0.6 of them."""
    numbers = {**DEFAULT, "temporal_cycles": 3, "multi_precision": 0}
    found = energy(numbers=numbers, temporal_adds=600, temporal_sums=3000)["array"]
    passed = 1000 * 8 * HOLD + 50 * 4 * HOLD
    assert found == pytest.approx(600 * 32 * ADD + 3000 * 32 * HOLD + passed)


def test_narrow_weights_send_more_sums_to_recon():
    assert energy(weight_bits=2)["recon"] > energy()["recon"] > 0
    idle = {"passes": 0, "second_passes": 0, "waits": 0, "switch_ops": 0}
    assert energy(weight_bits=0, macs=0, recon=idle)["recon"] == 0


def test_narrow_sums_cost_less():
    narrow = energy(numbers={**DEFAULT, "accumulator_bits": 24})
    assert narrow["array"] < energy()["array"] and narrow["recon"] < energy()["recon"]


def test_energy_grows_with_every_count():
    def grown(record, path):
        more = copy.deepcopy(record)
        *way, last = path
        inner = more
        for key in way:
            inner = inner[key]
        inner[last] += 1
        return more

    # Not so for weight_bits: wider weights leave fewer sums to a pass.
    paths = [("instructions",), ("macs",), ("vector_ops",)]
    paths += [("accesses", "weights"), ("recon", "passes"), ("recon", "switch_ops")]
    paths += [("dram_bytes", "read"), ("dram_bytes", "written")]
    paths += [("memory_bytes", name, way) for name in MEMORIES for way in ("read", "written")]
    base = energy()
    for path in paths:
        more = energy(grown(CALL, path))
        assert sum(more.values()) > sum(base.values()), path
        assert all(more[name] >= base[name] for name in COMPONENTS), path


def test_every_entry_of_energy_counts():
    """An entry that no component uses would be a figure without a meaning."""
    base = sum(energy().values())
    # Below 32 kB the first two sizes of a memory count; only buses beyond the first have wires.
    others = {"sram_8kb_pj_per_byte": {**DEFAULT, "spad_bytes": 16384},
              "weight_bus_pj_per_bit_per_mm": {**DEFAULT, "weight_buses": 8}}  # fmt: skip
    for name, row in TABLE.entries().items():
        if "_pj" in name:
            more = dataclasses.replace(row, value=2 * row.value)
            table = dataclasses.replace(TABLE, **{name: more})
            numbers = others.get(name, DEFAULT)
            before = sum(energy(numbers=numbers).values()) if name in others else base
            assert sum(energy(table=table, numbers=numbers).values()) != before, name


def test_components_of_area_and_energy_have_the_same_names():
    assert {part.component for part in area(load_arch("microscopiq-64x64"))} <= {*COMPONENTS}
    assert no_energy() == dict.fromkeys(COMPONENTS, 0.0)


def _mlp(emit, x):
    return make.mlp(emit, x)


@pytest.fixture(scope="module")
def compiled():
    """Return an executable and its inputs."""
    mod = make.module(_mlp, (2, 3, 10))
    return make.compiled(mod, "microscopiq-w4a8").executable, make.inputs_of(mod)


def test_run_reports_energy(compiled):
    executable, inputs = compiled
    result = Session(executable).run(*inputs)
    assert tuple(result.energy_pj) == COMPONENTS
    for name, value in result.energy_pj.items():
        assert value == pytest.approx(sum(call["energy_pj"][name] for call in result.calls))
    assert min(result.energy_pj[name] for name in ("array", "vector", "spad", "dram")) > 0
    text = json.loads(json.dumps(result.to_json()))
    assert text["energy_pj"] == result.energy_pj
    assert text["calls"][0]["energy_pj"] == result.calls[0]["energy_pj"]
    both = merge([result, result])
    assert both.energy_pj == {name: 2 * value for name, value in result.energy_pj.items()}
    for call in result.calls:
        assert call["energy_pj"] == call_energy(call, load_arch("tiny-4x4").numbers(), TABLE)


def test_another_technology(compiled, tmp_path):
    executable, inputs = compiled
    expected = Session(executable).run(*inputs)
    older = Session(executable, technology="nangate45").run(*inputs)
    assert older.cycles == expected.cycles
    for name in ("array", "vector", *MEMORIES, "control"):
        assert older.energy_pj[name] > expected.energy_pj[name]
    text = (TECHNOLOGY_DIR / "tsmc7.toml").read_text().replace("value = 31.2", "value = 62.4")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    mine = Session(executable, technology=path).run(*inputs).energy_pj
    assert mine == {**expected.energy_pj, "dram": 2 * expected.energy_pj["dram"]}
    with pytest.raises(ConfigError, match="unknown technology 'tsmc9'"):
        Session(executable, technology="tsmc9")


def test_program_whose_technology_is_gone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    technology = folder / "mine.toml"
    technology.write_text((TECHNOLOGY_DIR / "nangate45.toml").read_text())
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), technology=str(technology))
    mod = make.module(_mlp, (2, 3, 10))
    executable, inputs = make.compiled(mod, "int8", arch=arch).executable, make.inputs_of(mod)
    assert Session(executable).run(*inputs).energy_pj["array"] > 0
    technology.unlink()
    with pytest.raises(ConfigError, match=r"technology file not found: .*mine\.toml"):
        Session(executable)
    assert Session(executable, technology="tsmc7").run(*inputs).energy_pj["array"] > 0


def test_nothing_on_the_array_costs_nothing():
    def host_only(emit, x):
        return emit(relax.op.nn.softmax(x))

    mod = make.module(host_only, (2, 3))
    result = Session(make.compiled(mod, "int8", vector=False).executable).run(*make.inputs_of(mod))
    assert result.energy_pj == no_energy() and not result.calls
