"""runtime/src/timing/dram.cc: cycles of transfers, counted by hand from the keys of HBM2."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi

from benchmarks.dram import HBM2, KB, MB, MEMORIES, Move, machine, program_of
from microscopiq import runtime
from microscopiq.compiler.estimate.timing import time_functions
from microscopiq.target.arch import from_table, load_arch
from microscopiq.target.errors import ConfigError, IsaError
from microscopiq.target.isa.instructions import Clip, DmaIm2col, End
from microscopiq.target.isa.program import Argument, Function, Program
from microscopiq.target.isa.spec import Affine, Mem
from tests.runtime.gemm_program import gemm, random_weight
from tests.runtime.timing.test_timing_only import assert_times_like_a_run

LINE = Move(0, cols=64)
WRITE = Move(0, cols=64, write=True)


def cycles(*moves: Move, config: str = "hbm2", **keys) -> int:
    arch = dataclasses.replace(machine(config, "inf"), **keys)
    return time_functions(program_of(moves, arch))["f"][0]["cycles"]


def test_one_transfer():
    # 2 cycles of the bus and the way: 29 for a read, 19 for a write.
    assert cycles(LINE) == 31
    assert cycles(WRITE) == 21
    # 8 bursts of one row.
    assert cycles(Move(0, cols=512)) == 16 + 29
    # 32 bursts of one channel, or 4 of each.
    assert cycles(Move(0, cols=2 * KB)) == 64 + 29
    assert cycles(Move(0, cols=2 * KB), config="hbm2_ch256") == 8 + 29
    # A line that lies across two bursts.
    assert cycles(Move(32, cols=64)) == 4 + 29


def test_rows_of_a_bank_and_of_a_channel():
    # Another row of the bank 48 cycles later; of other banks every 30 / 4.
    assert cycles(Move(0, 2, 256 * KB, 64)) == 48 + 2 + 29
    assert cycles(Move(0, 5, 16 * KB, 64)) == 4 * 30 // 4 + 2 + 29
    # On two channels both at once.
    assert cycles(Move(0, 2, 2 * KB, 64)) == 31
    # A row that was open a moment ago: its burst goes before the other row's.
    assert cycles(LINE, Move(256 * KB, cols=64), Move(64, cols=64)) == 48 + 2 + 2 + 29


def test_elements_of_one_burst_are_read_once():
    assert cycles(Move(0, cols=16, step=4)) == 31
    assert cycles(Move(0, cols=16, step=64)) == 32 + 29


def test_refresh():
    # 2,048 bursts a channel; at 3,900 it pauses for 310.
    assert cycles(Move(0, cols=MB)) == 4096 + 310 + 29
    assert cycles(Move(0, cols=MB), dram_refresh_interval_cycles=0) == 4096 + 29


def test_bursts_under_way():
    few = {"config": "hbm2_ch256", "dram_window": 8}
    # Four windows, of 4 bursts on each of two channels.
    assert cycles(Move(0, cols=2 * KB), **few) == 4 * 8 + 29
    assert cycles(Move(0, cols=2 * KB, write=True), **few) == 8 + 19


def test_the_bus_turns_once_for_32_writes_among_reads():
    writes = Move(0, cols=2 * KB, write=True)
    assert cycles(writes) == 64 + 19
    assert cycles(LINE, writes) == 2 + 64 + 28 + 19
    assert cycles(LINE, Move(0, cols=2 * KB - 64, write=True)) == 2 + 62 + 19


def test_what_is_left_of_a_batch_of_writes_counts_later():
    # 96 writes are three batches, though no transfer has a whole one.
    part = Move(0, cols=24 * 64, write=True)
    assert cycles(LINE, part, part, part, part) == 2 + 96 * 2 + 3 * 28 + 19


def test_transfers_share_the_rows_that_a_channel_may_open():
    assert cycles(*[Move(16 * KB * n, cols=64) for n in range(5)]) == 4 * 30 // 4 + 2 + 29


def test_a_transfer_starts_when_the_rest_of_the_last_fits_the_queue():
    # 128 bursts of one channel in 256 cycles, of which the queue holds the last 96.
    first, second = (Move(at, 4, 16 * KB, 2 * KB) for at in (0, 2 * KB))
    assert cycles(first, second) == 256 - 96 + 256 + 29


def test_a_transfer_waits_for_a_refresh_that_is_under_way():
    # The 63rd instruction is dispatched in cycle 62 x 64, a refresh lasts from 3,900 to 4,210.
    assert cycles(*[LINE] * 21, sequencer_cycles=64) == 4210 + 2 + 29


def test_bursts_of_a_bank_group_lie_apart():
    assert cycles(Move(0, cols=512), config="ddr4") == 4 + 7 * 8 + 45
    # The queue's 48 bursts of one group, and the first of the next.
    assert cycles(Move(0, cols=49 * 64), config="ddr4") == 4 + 47 * 8 + 4 + 45


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("config", MEMORIES)
def test_cycles_need_no_values(config, overlap):
    arch = dataclasses.replace(load_arch("tiny-4x4"), overlap=overlap, **MEMORIES[config])
    weight = random_weight("ms4", 40, 150, seed=1)
    x, bias = np.ones((9, 150), np.float32), np.zeros(40, np.float32)
    assert_times_like_a_run(gemm(arch, weight, 9), arch, x, bias, np.zeros((9, 40), np.float32))


def test_im2col_reads_rows_of_pixels_once():
    # Two rows of outputs need three of 64 pixels, of each of two channels: on two of the memory's.
    gather = DmaIm2col(
        Mem.SPAD,
        Affine(),
        18,
        0,
        Affine(),
        Affine(),
        Affine(),
        0,
        1,
        64,
        64,
        64,
        3,
        3,
        1,
        1,
        1,
        1,
        1,
        1,
    )
    code = (Clip(0, 128, 128, Affine()), Clip(1, 18, 18, Affine()), gather, End())
    image = Argument("image", "int8", (2, 64, 64))
    arch = machine("hbm2", "inf")
    program = Program.for_arch(arch, {"f": Function("f", "gather", (image,), code)})
    assert time_functions(program)["f"][0]["cycles"] == 3 * 2 + 29


def test_the_machine_of_the_docs(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "dram.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    arch = load_arch(path)
    assert arch.dram_channels == 8 and arch.array_rows == 64


def table(**keys) -> dict:
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), **HBM2)
    return {**dataclasses.asdict(arch), "weight_formats": list(arch.weight_formats), **keys}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dram_banks": 0}, "dram_channels = 8 with dram_banks = 0: allowed 1 or more"),
        ({"dram_interleave_bytes": 100}, "interleave_bytes = 100: allowed multiples of .* = 64"),
        ({"dram_row_bytes": 3072}, "dram_row_bytes = 3072: allowed multiples of .* = 2048"),
        ({"dram_channels": 4}, "bytes_per_cycle = 256: allowed 128, what dram_channels = 4 move"),
        ({"dram_refresh_cycles": 3900}, "dram_refresh_cycles = 3900: allowed less than .* = 3900"),
    ],
)
def test_keys_that_contradict_each_other(keys, message):
    assert from_table(table(), "here").dram_channels == 8
    with pytest.raises(ConfigError, match=message):
        from_table(table(**keys), "here")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dram_banks": 0}, "dram_channels = 8 with 0 banks"),
        ({"dram_queue": 0}, "a queue of 0; allowed: numbers above 0"),
        ({"dram_burst_bytes": 0}, "bursts of 0 in 2 cycles"),
        ({"dram_interleave_bytes": 96}, "96 bytes a channel and bursts of 64 in 2 cycles"),
        ({"dram_refresh_cycles": 3900}, "dram_refresh_cycles = 3900; allowed: less than 3900"),
    ],
)
def test_a_program_of_an_impossible_memory_is_refused(keys, message):
    arch = dataclasses.replace(load_arch("microscopiq-64x64"), **{**HBM2, **keys})
    made = Program.for_arch(arch, program_of([LINE], machine("hbm2", "inf")).functions)
    runtime.load()
    with pytest.raises(IsaError, match=message):
        tvm_ffi.get_global_func("microscopiq.runtime.create")(made.to_bytes())


def test_bytes_of_whole_bursts():
    """A gather of single bytes moves bursts of 64; without channels nothing is known of any."""

    def moved(move: Move, arch) -> dict:
        record = time_functions(program_of([move], arch))["f"][0]
        return {
            **record["dram_bytes"],
            **{f"{k}*": v for k, v in record["dram_burst_bytes"].items()},
        }

    arch = machine("hbm2", "inf")
    column = Move(0, cols=100, step=256)
    assert moved(column, arch) == {"read": 100, "written": 0, "read*": 6400, "written*": 0}
    assert moved(dataclasses.replace(column, step=4), arch)["read*"] == 448
    # Sixteen such columns beside each other go column by column, 64 bytes each.
    assert moved(Move(0, 16, 4, 100, 256), arch)["read*"] == 6400
    assert moved(Move(32, cols=64, write=True), arch)["written*"] == 128
    assert moved(column, load_arch("microscopiq-64x64"))["read*"] == 0
