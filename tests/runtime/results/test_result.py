"""runtime/result*.py, runtime/reports/layer_table.py, runtime/whole_file.py: what a run writes."""

import copy
import csv
import gzip
import json

import pytest
from tvm import relax
from tvm.relax import op

from microscopiq import Session
from microscopiq.runtime.reports.layer_table import ARRAY, COLUMNS, layer_rows, write_layers
from microscopiq.runtime.results.fields import FIELDS, field_of, paths
from microscopiq.runtime.results.peaks import peak_macs, weight_format
from microscopiq.runtime.results.result import RESULT_VERSION, RunResult, merge, total
from microscopiq.runtime.whole_file import check_folder, whole_file, whole_text
from microscopiq.target.errors import ConfigError, InputError
from tests.compiler import relax_modules as make


def model(emit, x, key):
    return relax.Tuple([make.mlp(emit, x), emit(op.matmul(x, key))])


@pytest.fixture(scope="module")
def ran():
    """Return a session and the result of a run."""
    mod = make.module(model, (2, 3, 10), (2, 10, 7))
    session = Session(make.compiled(mod, "microscopiq-w4a8", vector=False, graph=False).executable)
    return session, session.run(*make.inputs_of(mod))


@pytest.fixture
def record(ran):
    return json.loads(json.dumps(ran[1].to_json()))


def test_every_field_is_documented_and_every_documented_field_is_there(record):
    found = {path: field_of(path) for path, _ in paths(record)}
    assert [path for path, field in found.items() if field is None] == []
    missing = {field.path for field in FIELDS if not field.optional} - {
        field.path for field in found.values()
    }
    assert missing == set()


def test_documented_once_with_units():
    names = [field.path for field in FIELDS]
    assert len(set(names)) == len(names)
    text = {"version", "calls[].name", "calls[].layer", "calls[].function", "calls[].weight_format"}
    text |= {"host_calls[].name", "host_calls[].counted"}
    assert {field.path for field in FIELDS if not field.unit} == text


def test_from_json_gives_the_result_back(ran, record):
    result = RunResult.from_json(record)
    assert result.outputs == []
    assert result.to_json() == ran[1].to_json()
    assert merge([result, result]).cycles == 2 * result.cycles


def test_from_json_takes_energies(record):
    record["calls"][0]["energy_pj"] = {"array": 1.5}
    assert RunResult.from_json(record).calls[0]["energy_pj"] == {"array": 1.5}


@pytest.mark.parametrize("version", [None, 1, RESULT_VERSION + 1, "2"])
def test_from_json_refuses_other_versions(record, version):
    record["version"] = version
    with pytest.raises(InputError, match=rf"version {version!r}; allowed: {RESULT_VERSION}"):
        RunResult.from_json(record)


def test_from_json_refuses_what_is_no_result():
    with pytest.raises(InputError, match="version None"):
        RunResult.from_json([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(bogus=1), r"1 mistake\(s\): unknown field 'bogus'"),
        (lambda r: r.pop("macs"), "missing field 'macs'"),
        (lambda r: r.update(cycles="many"), "cycles = 'many': a number is needed"),
        (lambda r: r.update(cycles=True), "cycles = True: a number is needed"),
        (lambda r: [c.pop("layer") for c in r["calls"]], r"missing field 'calls\[\].layer'"),
        (lambda r: r["calls"][0].update(layer=3), r"calls\[\].layer = 3: text is needed"),
        (lambda r: r["calls"][1]["recon"].update(more=3), r"field 'calls\[\].recon.more'"),
    ],
)
def test_from_json_names_what_is_wrong(record, change, message):
    change(record)
    with pytest.raises(InputError, match=message):
        RunResult.from_json(record)


def test_calls_say_their_format_and_peak(ran):
    session, result = ran
    numbers = session.program.arch_numbers
    formats = [call["weight_format"] for call in result.calls]
    assert set(formats) == {"", "ms4", "int8"}
    assert [name == "" for name in formats] == [call["macs"] == 0 for call in result.calls]
    for call in result.calls:
        function = session.program.functions[call["name"]]
        assert call["weight_format"] == weight_format(function.code)
        assert call["peak_macs"] == peak_macs(function.code, numbers)
    # 4 rows; 4 columns of 8 bits hold 8 weights of 4.
    assert {c["weight_format"]: c["peak_macs"] for c in result.calls} == {
        "ms4": 32,
        "int8": 16,
        "": 16,
    }


def test_table_has_a_row_per_call(ran, tmp_path):
    result = ran[1]
    path = tmp_path / "layers.csv"
    write_layers(path, result)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.calls)
    assert list(rows[0])[: len(COLUMNS)] == list(COLUMNS)
    for row, call in zip(rows, result.calls, strict=True):
        assert (row["layer"], row["function"]) == (call["layer"], call["name"])
        stalls = [int(row[f"array_{cause}_cycles"]) for cause in call["units"][ARRAY]]
        assert sum(stalls) == int(row["cycles"]) == call["cycles"]
        wanted = call["macs"] / (call["cycles"] * call["peak_macs"])
        assert float(row["utilisation"]) == pytest.approx(wanted, abs=1e-6)
        assert int(row["acc_written_bytes"]) == call["memory_bytes"]["acc"]["written"]
        assert int(row["recon_passes"]) == call["recon"]["passes"]
        for component, value in call["energy_pj"].items():
            assert float(row[f"{component}_energy_pj"]) == pytest.approx(value, rel=1e-3, abs=1e-3)
    for way in ("read", "written"):
        assert sum(int(row[f"dram_{way}_bytes"]) for row in rows) == result.bytes_moved[way]


def test_table_has_energies_where_a_run_has_them(ran):
    result = copy.deepcopy(ran[1])
    for call in result.calls:
        call["energy_pj"] = {"array": 2.5, "dram": 0.0}
    row = next(layer_rows(result))
    assert list(row)[-2:] == ["array_energy_pj", "dram_energy_pj"]
    assert row["array_energy_pj"] == "2.5"


def test_table_of_no_calls_has_a_header(tmp_path):
    path = tmp_path / "none.csv"
    write_layers(path, total([], None, None))
    assert path.read_bytes().decode() == ",".join(COLUMNS) + "\r\n"


def test_files_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half of it")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with whole_text(tmp_path / "file.gz") as text:
        text.write("é\n")
    assert gzip.decompress((tmp_path / "file.gz").read_bytes()).decode() == "é\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "file.gz"]


def test_files_that_cant_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder, why in (("nowhere", "No such file"), ("file", "Not a directory")):
        with (
            pytest.raises(ConfigError, match=rf"can't write '.*{folder}/new': {why}"),
            whole_file(tmp_path / folder / "new"),
        ):
            pass
        with pytest.raises(ConfigError, match=rf"no folder that can be written: .*{folder}$"):
            check_folder(tmp_path / folder / "new")
    with pytest.raises(ConfigError, match="a folder has that name"):
        check_folder(tmp_path)
