"""compiler/cli: every command end to end, its exit codes and what it prints where."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import microscopiq as mq
from microscopiq.compiler.cli import list as cli_list
from microscopiq.compiler.cli import progress as cli_progress
from microscopiq.compiler.cli.run import Mode
from microscopiq.compiler.options import STAGES
from microscopiq.runtime.results.energy import COMPONENTS
from microscopiq.runtime.results.result import RESULT_VERSION
from microscopiq.runtime.session import MODES
from microscopiq.target.arch import DEFAULT_ARCH
from microscopiq.target.formats import WEIGHT_FORMATS
from tests.compiler import relax_modules as make

HELP = """
import sys
from microscopiq.compiler.cli.main import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"tvm", "tvm_ffi", "onnx", "torch"} & sys.modules.keys()
    assert not heavy, heavy
"""


def in_process_of_its_own(*arguments: str) -> str:
    """Run a command that must not import TVM, at 80 columns, and return its stdout."""
    env = {
        **os.environ,
        "TERMINAL_WIDTH": "80",
        "_TYPER_FORCE_DISABLE_TERMINAL": "1",
        "PYTHONUTF8": "1",
    }
    command = [sys.executable, "-c", HELP, *arguments]
    done = subprocess.run(
        command, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


@pytest.mark.parametrize("command", ["", "compile", "run", "estimate"])
def test_help_without_tvm(command, golden):
    arguments = [command, "--help"] if command else ["--help"]
    golden(f"cli_help{'_' * bool(command)}{command}.txt", in_process_of_its_own(*arguments))


def test_list_without_tvm():
    recipes = in_process_of_its_own("list", "recipes")
    (line,) = [line for line in recipes.splitlines() if line.split()[0] == "microscopiq-w4a8"]
    assert line.split(maxsplit=1)[1].startswith("W4A8: ")
    assert "microscopiq-64x64" in in_process_of_its_own("list", "archs")
    formats = [line.split()[0] for line in in_process_of_its_own("list", "formats").splitlines()]
    assert formats == list(WEIGHT_FORMATS)
    assert "tsmc7" in in_process_of_its_own("list", "technologies")


def test_area_without_tvm():
    """MicroScopiQ Table 5: 4096 PEs of 2.82 um2; its parts sum to 12783 um2."""
    lines = in_process_of_its_own("area", "microscopiq-64x64").splitlines()
    words = [line.split() for line in lines]
    assert ["array", "multi-precision", "PE", "4,096", "2.82", "11,550.72", "1.5"] in words
    assert any(row[:3] == ["Compute", "0.01278", "mm2"] for row in words)
    assert any("MicroScopiQ Table 5: control unit" in line for line in lines)
    text = in_process_of_its_own("area", "microscopiq-64x64", "--technology", "rtl7", "--json")
    record = json.loads(text)
    assert (record["arch"], record["technology"]) == ("microscopiq-64x64", "rtl7")
    assert sum(row["um2"] for row in record["parts"]) == pytest.approx(record["um2"])


def test_area_mistakes(shell):
    for arguments in (("area", "microscopiq-65x65"), ("area", "tiny-4x4", "--technology", "7nm")):
        result = shell(*arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("error: unknown ")


def test_version(shell):
    result = shell("--version")
    assert (result.code, result.out) == (0, f"microscopiq {mq.__version__}\n")


def test_list_passes_in_order(shell):
    result = shell("list", "passes")
    assert result.code == 0
    assert tuple(line.split()[0] for line in result.out.splitlines()) == STAGES


def test_debug_mode_finds_what_values_do_not_show(
    shell, demo_folder, images, tmp_path, monkeypatch, production_mode
):
    library, inputs = tmp_path / "cnn.so", tmp_path / "x.npz"
    np.savez(inputs, images)
    monkeypatch.setattr("microscopiq.compiler.emit.emit._add_tokens", lambda *_: None)
    shell("compile", demo_folder / "digits_cnn.onnx", "-o", library)
    assert shell("run", library, "--input", inputs).code == 0
    wrong = shell("run", library, "--input", inputs, "--debug")
    assert wrong.code == 2
    assert wrong.err.startswith("error: function '") and ", cycle " in wrong.err
    assert "in no defined order; allowed: after " in wrong.err


def test_compile_prints_summary(shell, demo_folder, tmp_path):
    output, dump = tmp_path / "cnn.so", tmp_path / "dump"
    output.write_text("an older file")
    model = demo_folder / "digits_cnn.onnx"
    result = shell("compile", model, "-o", output, "--dump-dir", dump)
    assert (result.code, result.err) == (0, "")  # no bars: stderr is no terminal here
    lines = {line.split()[0]: line.split() for line in result.out.splitlines() if line.strip()}
    functions = mq.Session(output).program.functions.values()
    weight_bytes = sum(len(function.weights) for function in functions)
    code_bytes = sum(len(i.encode()) for function in functions for i in function.code)
    assert lines["Instructions"][1:] == [f"{code_bytes:,}", "bytes"]
    assert lines["Weights"][1:] == [f"{weight_bytes:,}", "bytes"]
    packed, weights = (int(lines["conv2d"][i].replace(",", "")) for i in (5, 4))
    assert lines["conv2d"][1:3] == ["ms4", "6"]
    assert lines["conv2d"][-1] == f"{8 * packed / weights:.2f}"
    layers = json.loads((dump / "10_quant.json").read_text())["layers"].values()
    counts = [row["counts"] for row in layers if "counts" in row]
    kept, again = (sum(count[key] for count in counts) for key in ("pruned", "second_passes"))
    assert lines["Kept"][1] == f"{kept:,}" != "0"
    assert lines["Second"][2] == f"{again:,}"
    assert "On the host" not in result.out
    assert lines["Wrote"][1] == str(output)
    stages = sorted(path.name[:2] for path in dump.iterdir())
    assert stages == ["00", "00", "10", "10", "15", "20", "30", "30"]


def test_compile_prints_a_row_per_layer(shell, demo_folder):
    """The table and the JSON have the same figures; lines end at column 100."""
    model = demo_folder / "digits_cnn.onnx"
    options = ("--recipe", "microscopiq-w2a8", "--stop-after", "quantize")
    table, record = shell("compile", model, *options), shell("compile", model, *options, "--json")
    assert max(map(len, table.out.splitlines())) <= 100
    lines = {line.split()[0]: line.split() for line in table.out.splitlines() if line.strip()}
    report = json.loads(record.out)["weights"]
    assert len(report["layers"]) == 7
    for name, row in [(row["layer"], row) for row in report["layers"]] + [("all", report["total"])]:
        assert lines[name][1:] == [
            f"{row['weights']:,}",
            f"{row['bits_per_weight']:.2f}",
            f"{row['paper_bits_per_weight']:.2f}",
            f"{100 * row['outlier_share']:.2f}",
            f"{100 * row['flagged_share']:.2f}",
            f"{row['overflow']:,}",
            f"{row['saturated']:,}",
        ]


def test_compile_says_what_memories_are_needed_for(shell, demo_folder, tmp_path):
    model, output = demo_folder / "digits_cnn.onnx", tmp_path / "cnn.so"
    options = ("-o", output, "--recipe", "int8")
    table, record = shell("compile", model, *options), shell("compile", model, *options, "--json")
    plan = json.loads(record.out)["memory"]
    lines = {line.split()[0]: line.split() for line in table.out.splitlines() if line.strip()}
    assert set(plan["peaks"]) == {"dram", "spad", "wbuf", "acc", "obuf"}
    for memory, peak in plan["peaks"].items():
        assert lines[memory][1] == f"{peak['peak_bytes']:,}"
        largest = max(row["size"] for row in plan["tensors"] if row["memory"] == memory)
        assert lines[memory][-1] == f"{largest:,}"
    assert json.loads(record.out)["program"]["functions"] == 1


def test_compile_stops_after_a_stage(shell, demo_folder, tmp_path):
    model, dump = demo_folder / "digits_cnn.onnx", tmp_path / "dump"
    result = shell("compile", model, "--stop-after", "quantize", "--dump-dir", dump)
    assert result.code == 0
    assert "stopped after quantize" in " ".join(result.out.split())
    assert sorted(path.name for path in dump.iterdir()) == [
        "00_import.py",
        "00_onnx.txt",
        "10_quant.json",
        "10_quantized.py",
    ]
    result = shell("compile", model, "--stop-after", "import")
    assert "Wrote nothing" in result.out


def test_compile_with_samples(shell, demo_folder, tmp_path):
    samples = tmp_path / "samples.npz"
    np.savez(samples, image=np.random.default_rng(0).random((180, 1, 8, 8), np.float32))
    model, folder = demo_folder / "digits_cnn.onnx", tmp_path / "cache"
    options = ("--stop-after", "quantize", "--calibration", samples, "--calibration-cache", folder)
    first = shell("compile", model, *options)
    assert first.code == 0, first.err
    header = next(line for line in first.out.splitlines() if "bits/weight" in line)
    assert header.rstrip().endswith("held-out error")
    (conv,) = (line for line in first.out.splitlines() if line.lstrip().startswith("conv2d"))
    assert 0 < float(conv.split()[-2]) < 5 and conv.split()[-1] == "%"
    files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == 7
    again = shell("compile", model, *options)
    assert again.out == first.out
    assert files == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_run_prints_json_only(shell, library, images, tmp_path):
    np.savez(tmp_path / "x.npz", image=images)
    arguments = ("--input", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--json")
    result = shell("run", library, *arguments)
    assert (result.code, result.err) == (0, "")
    record = json.loads(result.out)
    expected = mq.Session(library).run(images)
    assert record == json.loads(json.dumps(expected.to_json()))
    assert record["version"] == RESULT_VERSION
    assert all(sum(parts.values()) == record["cycles"] for parts in record["unit_cycles"].values())
    with np.load(tmp_path / "y.npz") as outputs:
        assert outputs.files == ["logits"]
        np.testing.assert_array_equal(outputs["logits"], expected.outputs[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "y.npz"]


def test_run_in_structural_mode(shell, tmp_path):
    layers = make.module(make.mlp, (2, 3, 10))
    mq.export_library(make.compiled(layers, "microscopiq-w4a8").executable, tmp_path / "mlp.so")
    np.savez(tmp_path / "x.npz", *make.inputs_of(layers))
    records = []
    for mode in Mode:
        arguments = ("--input", tmp_path / "x.npz", "--json", "--mode", mode.value)
        result = shell("run", tmp_path / "mlp.so", *arguments)
        assert (result.code, result.err) == (0, "")
        records.append(json.loads(result.out))
    assert records[0] == records[1]
    assert tuple(mode.value for mode in Mode) == MODES


def test_run_takes_arrays_in_stored_order(shell, library, images, tmp_path):
    np.savez(tmp_path / "x.npz", images)
    result = shell("run", library, "--input", tmp_path / "x.npz", "--arch", DEFAULT_ARCH)
    assert (result.code, result.err) == (0, "")
    assert "at 1,000 MHz" in result.out
    assert "logits  float32  60x10" in result.out
    words = [line.split()[:1] for line in result.out.splitlines()]
    start = words.index(["dma_in"])
    assert words[start : start + 6] == [
        ["dma_in"], ["dma_out"], ["wload"], ["recon"], ["array"], ["vector"],
    ]  # fmt: skip
    start = words.index(["Energy"], words.index(["vector"]))
    assert [row[0] for row in words[start + 3 : start + 12]] == list(COMPONENTS)
    assert "pJ per multiply-accumulate" in result.out
    older = shell("run", library, "--input", tmp_path / "x.npz", "--technology", "nangate45")
    assert older.code == 0 and older.out != result.out


def test_run_writes_timeline_table_and_roofline(shell, library, images, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'microscopiq[plot]'")
    np.savez(tmp_path / "x.npz", image=images)
    files = {option: tmp_path / name for option, name in REPORTS.items()}
    options = [word for option, path in files.items() for word in (option, path)]
    result = shell("run", library, "--input", tmp_path / "x.npz", *options)
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("".join(f"Wrote {path}\n" for path in files.values()))
    assert max(map(len, result.out.splitlines())) <= 100
    run = mq.Session(library).run(images)
    timeline = json.loads(files["--trace"].read_text(encoding="utf-8"))
    assert timeline["otherData"]["arch"] == DEFAULT_ARCH
    layers = [e["name"] for e in timeline["traceEvents"] if e.get("cat") == "layer"]
    assert layers == [call["layer"] for call in run.calls]
    assert len(files["--csv"].read_text().splitlines()) == 1 + len(run.calls)
    assert files["--roofline"].read_bytes().startswith(b"<?xml")
    assert len(list(tmp_path.iterdir())) == 1 + len(files)


REPORTS = {"--trace": "t.json", "--csv": "layers.csv", "--roofline": "roofline.svg"}


@pytest.mark.parametrize("option", REPORTS)
def test_reports_that_cant_be_written(shell, library, images, tmp_path, option):
    np.savez(tmp_path / "x.npz", image=images)
    wrong = tmp_path / "nowhere" / REPORTS[option]
    result = shell("run", library, "--input", tmp_path / "x.npz", option, wrong)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: output file '{wrong}': no folder that can be written: {wrong.parent}\n"
    )


def test_run_timing_only(shell, library, images):
    result = shell("run", library, "--timing-only", "--json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == json.loads(
        json.dumps(mq.Session(library).run(images).to_json())
    )
    assert "Cycles" in shell("run", library, "--timing-only").out
    for arguments, message in (
        ((), "run needs either --input X.npz or --timing-only"),
        (("--timing-only", "--input", "x.npz"), "run needs either --input X.npz or --timing-only"),
        (("--timing-only", "-o", "y.npz"), "leave out --output, --trace, --mode and"),
        (("--timing-only", "--mode", "structural"), "leave out --output, --trace, --mode and"),
    ):
        wrong = shell("run", library, *arguments)
        assert (wrong.code, wrong.out) == (2, "")
        assert message in wrong.err


def test_numbers_stay_whole_in_60_columns(shell, library, monkeypatch):
    def numbers(text: str) -> Counter:
        return Counter(re.findall(r"(?<![\w.,-])\d[\d,.]*(?![\w-])", text))

    for arguments in (
        ("run", library, "--timing-only"),
        ("estimate", "--gemm", "ffn=12345x384x384x1000", "--gemm", "2x3x4"),
    ):
        wide = shell(*arguments)
        monkeypatch.setenv("COLUMNS", "60")
        narrow = shell(*arguments)
        monkeypatch.delenv("COLUMNS")
        assert (wide.code, narrow.code) == (0, 0)
        assert max(map(len, narrow.out.splitlines())) <= 60
        assert not numbers(wide.out) - numbers(narrow.out)


def test_inspect(shell, library):
    whole = shell("inspect", library)
    assert whole.code == 0
    assert mq.disassemble(library) in whole.out
    one = shell("inspect", library, "--function", "mq_head")
    assert mq.disassemble(library, "mq_head") in one.out
    assert "mq_stem_0" not in one.out
    assert one.out.splitlines()[2].split()[:2] == ["mq_head", "head"]
    assert " matmul " in one.out and "absmax" not in one.out
    wrong = shell("inspect", library, "--function", "mq_had")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error: no function 'mq_had' in the program; it has: ")


def test_demo(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = shell("demo", "--model", "cnn", "--json")
    assert (result.code, result.err) == (0, "")
    record = json.loads(result.out)
    assert record["images"] == 360
    # Measured: all 360 right in both; a wrong batch order would leave about 10 %.
    assert min(record["accuracy"], record["accuracy_fp32"], record["agreement"]) >= 0.98
    # 4-bit slots and their scales, outliers and padding of small layers.
    assert 4.0 < record["bits_per_weight"] < 6.0
    calls = record["run"]["calls"]
    assert sum(call["cycles"] for call in calls) == record["run"]["cycles"]
    macs = sum(function["macs"] for function in calls[: len(calls) // 6])
    assert record["run"]["macs"] == 6 * macs
    folder = tmp_path / "microscopiq-demo"
    assert json.loads((folder / "result.json").read_text()) == record
    assert (folder / "30_program.asm").stat().st_size > 0


def test_exit_codes(shell, monkeypatch):
    assert shell("list", "recipes").code == 0
    assert shell("list", "rcipes").code == 2
    assert shell("compile", "model.onnx").code == 2

    def fail(_what):
        raise RuntimeError("something of ours broke")

    monkeypatch.setattr(cli_list, "print_listing", fail)
    monkeypatch.delenv("MICROSCOPIQ_DEBUG", raising=False)
    result = shell("list", "recipes")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("internal error: RuntimeError: something of ours broke\n")
    assert "report it" in result.err
    assert "Traceback" not in result.err
    monkeypatch.setenv("MICROSCOPIQ_DEBUG", "1")
    assert "Traceback" in shell("list", "recipes").err


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_need_a_terminal(terminal, monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "DELAY_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with cli_progress.StageBars() as bars:
        bars("quantize", 1, 2, "layer.0")
        if terminal:
            bars.timer.join()
        bars("quantize", 2, 2, "layer.1")
    out, err = capsys.readouterr()
    assert out == ""
    assert ("quantize" in err) == terminal
