"""What a tile makes each unit of the machine do, and how long a call takes: by formula.

Nothing here is a measurement. The simulator says what a schedule costs; these numbers choose where
nobody has asked it, and are what a learned cost model looks at. `work.py` says what each step of
the loops takes, `recon.py` what outliers add, and `walk.py` puts the steps into time.
"""

from dataclasses import dataclass

from ...target.arch import Arch
from ...target.weight import blocks
from ..operators import Gemm
from .nest import F32
from .tile import GemmTile
from .walk import walk
from .work import Work, work_of


@dataclass(frozen=True)
class Resources:
    """Cycles by resource, of all tiles together.

    Attributes
    ----------
    array : float
        Rows that stream, each as many cycles as ReCoN or temporal PEs make of it.
    recon : float
        The part of `array` beyond a cycle for each row, where ReCoN is its cause.
    weight_load, vector, sequencer, dma : float
        Cycles in which these units have work.
    read_x, read_w, read_more, written : float
        Bytes that cross the DRAM channel: of activations and weights with their exponents, of bias
        and residual, and of results.
    """

    array: float
    recon: float
    weight_load: float
    vector: float
    sequencer: float
    dma: float
    read_x: float
    read_w: float
    read_more: float
    written: float

    @property
    def busiest(self) -> float:
        """Cycles of the unit that has most to do: where units overlap, no call takes fewer."""
        return max(self.array, self.weight_load, self.vector, self.sequencer, self.dma)


@dataclass(frozen=True)
class TileCost(Resources):
    """Resources, and cycles of the call: until its first row streams (`head`) and after its last
    sum is there (`tail`), which nothing overlaps, and all of them.
    """

    cycles: float
    head: float
    tail: float


def tile_cost(op: Gemm, tile: GemmTile, arch: Arch) -> TileCost:
    """Return what a tile costs on a machine."""
    walked = walk(op, tile, arch)
    return TileCost(
        **vars(resources(op, tile, arch)),
        cycles=walked.cycles,
        head=walked.first,
        tail=walked.cycles - walked.last,
    )


def resources(op: Gemm, tile: GemmTile, arch: Arch) -> Resources:
    """Return what a tile gives each unit to do."""
    work = work_of(op, arch, tile.outliers)
    outside, tiles = op.batch * op.conv_groups, blocks(op.m, tile.tile_m)
    rows, results = outside * op.m, outside * op.m * op.n
    read_x, read_w, read_more = _read(op, tile, work)
    # Each block of columns of a row has an exponent of its own.
    exponents = outside * op.m * op.column_blocks * op.requantize
    written = results * work.element + exponents
    return Resources(
        array=rows * work.turns * work.row_cycles,
        recon=rows * (work.turns - work.plane_count),
        weight_load=outside * tiles * work.load_cycles,
        vector=results * (op.groups + work.extra) / work.lanes,
        sequencer=work.instructions(tile) * arch.sequencer_cycles,
        dma=(read_x + read_w + read_more + written) / work.bandwidth,
        read_x=read_x,
        read_w=read_w,
        read_more=read_more,
        written=written,
    )


def _read(op: Gemm, tile: GemmTile, work: Work) -> tuple[float, float, float]:
    """Return the bytes that are loaded of activations, of weights, and of bias and residual."""
    outside, tiles, columns = op.batch * op.conv_groups, blocks(op.m, tile.tile_m), op.column_blocks
    by_rows = tile.order == "rows"
    # An operand that the inner loop leaves in place is loaded once for it, not once per turn.
    x_times = 1 if tile.x_home == "all" or (tile.x_home == "tile" and by_rows) else columns
    w_times = 1 if tile.w_home == "all" or (tile.w_home == "block" and not by_rows) else tiles
    inner_columns, inner_rows = 1 if by_rows else columns, tiles if by_rows else 1
    read_x = op.m * op.k * work.inside * x_times
    read_x += (tiles * op.side_by_side if op.by_image else op.m * op.groups) * inner_columns
    read_w = _weight_bytes(op, work) * w_times
    if not op.weight_format:
        read_w += op.n * op.groups * inner_rows
    read_more = op.bias * op.n * F32 * inner_rows + op.residual * op.m * op.n * F32
    return outside * read_x, outside * read_w, outside * read_more


def _weight_bytes(op: Gemm, work: Work) -> float:
    """Return the bytes of the weights of one conv group."""
    (whole, narrow), (last, corner) = work.panel_bytes
    groups, columns = op.groups - 1, op.column_blocks - 1
    return groups * (columns * whole + narrow) + columns * last + corner
