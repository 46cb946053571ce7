"""compiler/cli/sheet.py: in 60 columns every number of a wide table is there whole."""

import re
from collections import Counter

import pytest
from rich.console import Console

from microscopiq.compiler.cli import area, study, tune
from microscopiq.compiler.cli.sheet import Sheet, tables
from microscopiq.compiler.cli.tables import print_facts, print_table
from microscopiq.compiler.cli.units import unit_sheet
from microscopiq.compiler.cli.weights import COLUMNS, weight_sheet
from microscopiq.runtime.results.causes import CAUSES
from microscopiq.target.arch import load_arch
from microscopiq.target.area import area as area_of
from microscopiq.target.technology import load_technology

ROW = {key: 12345678.9 for key, _form, _meaning in COLUMNS.values()} | {
    "layer": "encoder.layer.11.attention.self.query", "weight_format": "ms4",
    "weights": 123456789, "overflow": 1234567, "saturated": 1234567,
}  # fmt: skip
REPORT = {"layers": [ROW, {**ROW, "weight_format": "int8"}], "total": {**ROW, "layer": "all"}}
SHEETS = {
    "units": unit_sheet({"dma_in": {key: 10**9 + 7**n for n, key in enumerate(CAUSES)}}),
    "weights": weight_sheet(REPORT),
    "study": Sheet(
        study.HEADINGS, [("microscopiq-w2a8-migrated", *["1,234,567,890"] * 7)] * 2
    ),
    "tune": Sheet(
        tune.HEADINGS,
        [("model.layers.0.mlp.down_proj", "32 x 2048x4096x11008", *["1,234,567"] * 6, "dma_in")],
    ),
    "many columns": Sheet(
        ("operator", *map(str, range(20))), [("mlp", *(f"{7**n:,}" for n in range(20)))]
    ),
    "long text": Sheet(("count", "operator", "why"), [("1,234", "softmax", "not a matrix " * 20)]),
}  # fmt: skip


def printed(what, width: int) -> list[str]:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as capture:
        what(console)
    return [line.rstrip() for line in capture.get().splitlines()]


def numbers(lines: list[str]) -> Counter:
    return Counter(re.findall(r"(?<![\w.,-])\d[\d,.]*(?![\w-])", "\n".join(lines)))


@pytest.mark.parametrize("name", SHEETS)
@pytest.mark.parametrize("width", [40, 60])
def test_numbers_stay_whole(name, width):
    wide = printed(lambda console: print_table(console, SHEETS[name]), 400)
    narrow = printed(lambda console: print_table(console, SHEETS[name]), width)
    assert max(map(len, narrow)) <= width
    assert not numbers(wide) - numbers(narrow)
    assert not any("…" in line for line in narrow)


def test_rows_are_named_in_each_part():
    parts = printed(lambda console: print_table(console, SHEETS["many columns"]), 60)
    assert sum(line.split()[:1] == ["mlp"] for line in parts) > 1


def test_bars_go_first():
    sheet = Sheet(("unit", "busy", "share"), [("dma_in", "99.9", "#" * 24)])
    (table,) = tables(sheet, 20)
    assert [column.header for column in table.columns] == ["unit", "busy"]
    (table,) = tables(sheet, 6 + 1 + 4 + 1 + 24)
    assert len(table.columns) == 3


def test_facts_fold_notes_alone():
    rows = [("Utilisation", "12.34 %", "of peak, for 123,456,789,012 multiply-accumulates")] * 2
    narrow = printed(lambda console: print_facts(console, rows), 40)
    assert max(map(len, narrow)) <= 40
    assert "123,456,789,012" in " ".join(narrow) and narrow[0].startswith("  Utilisation  12.34 %")


def test_area_in_60_columns(monkeypatch, capsys):
    machine = load_arch("microscopiq-64x64")
    table = load_technology(machine.technology)
    outputs = []
    for width in ("100", "60"):
        monkeypatch.setenv("COLUMNS", width)
        area.print_area(machine, table, area_of(machine, table))
        outputs.append(capsys.readouterr().out.splitlines())
    assert max(map(len, outputs[1])) <= 60
    assert not numbers(outputs[0]) - numbers(outputs[1])
