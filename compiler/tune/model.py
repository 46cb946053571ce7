"""The cost model of this machine: gradient-boosted trees over what a tile makes each unit do.

It learns the ratio of measured cycles to the estimate by formula (`tiling.cost`), so that what
one operator teaches helps with the next one, and an untrained model ranks as the formula does.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...runtime.whole_file import whole_file
from ...target.arch import Arch, load_arch
from ...target.errors import ConfigError
from ...target.weight import blocks
from ..kinds.registry import cost_of, kind_of
from ..operators import OUTLIER_WAYS, Gemm
from ..tiling.gemm import footprint
from ..tiling.tile import ORDERS, W_HOMES, X_HOMES, GemmTile
from ..tuned.space import arch_of, operator_of, tile_of

ROUNDS = 30
PARAMETERS = {"max_depth": 6, "eta": 0.3, "nthread": 1, "verbosity": 0, "tree_method": "hist"}
MOST_SAMPLES = 4000
PARTS = ("array", "recon", "weight_load", "vector", "sequencer", "dma", "head", "tail")
"""Of a cost: what the model sees as shares of the estimate."""


def features(op: Gemm, tile: GemmTile, arch: Arch) -> tuple[list[float], float]:
    """Return what the model sees of a candidate, and the estimate by formula.

    Work, traffic, occupancy, and the decisions themselves.
    """
    cost = cost_of(op, tile, arch)
    estimate = cost.cycles
    need = footprint(op, tile)
    last = op.m % tile.tile_m or tile.tile_m
    moved = cost.read_x + cost.read_w + cost.read_more + cost.written
    parts = [getattr(cost, name) / estimate for name in PARTS]
    sizes = [op.m, op.n, op.k, op.batch * op.conv_groups, tile.tile_m, blocks(op.m, tile.tile_m)]
    seen = [
        *parts,
        *(math.log2(value) for value in (estimate, *sizes)),
        last / tile.tile_m,
        op.macs / moved,
        cost.read_x / moved,
        cost.read_w / moved,
        *(need[name] / getattr(arch, f"{name}_bytes") for name in ("spad", "wbuf", "acc", "obuf")),
        ORDERS.index(tile.order),
        X_HOMES.index(tile.x_home),
        W_HOMES.index(tile.w_home),
        OUTLIER_WAYS.index(tile.outliers),
        tile.load_slots,
        tile.result_slots,
        tile.store_pieces,
        op.bias + op.residual + op.requantize,
        op.conv is not None,
    ]
    return seen, estimate


@derived_object
class TileModel(ms.cost_model.PyCostModel):
    """Ranks candidates; `tune_relax(..., cost_model=TileModel())`.

    Parameters
    ----------
    arch : str or Arch, optional
        The machine; the one that a task's target names unless given.
    seed : int
        Of what the trees sample.

    Raises
    ------
    ConfigError
        When xgboost isn't installed.
    """

    def __init__(self, arch: str | Arch | None = None, seed: int = 0):
        try:
            import xgboost
        except ImportError as error:
            raise ConfigError(
                f"the cost model needs xgboost ({error}): pip install 'microscopiq[tune]'"
            ) from None
        self.xgboost, self.arch, self.seed = xgboost, arch, seed
        self.booster: Any = None
        self.rows: list[list[float]] = []
        self.targets: list[float] = []
        self.cache: dict[tuple, tuple[list[float], float]] = {}

    def load(self, path: str) -> None:
        """Start warm: with the trees of an earlier run."""
        self.booster = self.xgboost.Booster(PARAMETERS)
        self.booster.load_model(path)

    def save(self, path: str) -> None:
        """Keep the trees for another run."""
        if self.booster is not None:
            with whole_file(Path(path)) as file:
                file.write(bytes(self.booster.save_raw("json")))

    def update(self, context, candidates, results) -> None:
        """Learn from measurements."""
        arch = self._machine(context)
        op = operator_of(context.mod)
        if op is None or not kind_of(op).tunable:
            return
        pairs = []
        for candidate, result in zip(candidates, results, strict=True):
            if result.run_secs:
                cycles = float(result.run_secs[0]) * arch.clock_mhz * 1e6
                tile = tile_of(candidate.sch.mod, arch)
                assert tile is not None
                pairs.append((tile, cycles))
        self.learn(op, arch, pairs)

    def predict(self, context, candidates) -> np.ndarray:
        """Return a score for each candidate; the highest is the best."""
        arch, op = self._machine(context), operator_of(context.mod)
        if op is None or not kind_of(op).tunable:
            return np.zeros(len(candidates))
        tiles = [tile_of(item.sch.mod, arch) for item in candidates]
        return self.score(op, arch, [tile for tile in tiles if tile is not None])

    def _machine(self, context) -> Arch:
        return arch_of(context.target) if self.arch is None else load_arch(self.arch)

    def learn(self, op: Gemm, arch: Arch, measured: list[tuple[GemmTile, float]]) -> None:
        """Add measured cycles, and train anew on what was measured last."""
        for tile, cycles in measured:
            row, estimate = self._features(op, tile, arch)
            self.rows.append(row)
            self.targets.append(math.log(cycles / estimate))
        if not measured:
            return
        data = self.xgboost.DMatrix(
            np.array(self.rows[-MOST_SAMPLES:]), np.array(self.targets[-MOST_SAMPLES:]), nthread=1
        )
        parameters = {**PARAMETERS, "seed": self.seed}
        self.booster = self.xgboost.train(parameters, data, ROUNDS)

    def score(self, op: Gemm, arch: Arch, tiles: list[GemmTile]) -> np.ndarray:
        """Return a score for each tile: minus the logarithm of the cycles to expect."""
        if not tiles:
            return np.zeros(0)
        seen = [self._features(op, tile, arch) for tile in tiles]
        estimates = np.log([estimate for _, estimate in seen])
        if self.booster is None:
            return -estimates
        data = self.xgboost.DMatrix(np.array([row for row, _ in seen]), nthread=1)
        return -(estimates + self.booster.predict(data))

    def _features(self, op: Gemm, tile: GemmTile, arch: Arch) -> tuple[list[float], float]:
        key = (op, tile, arch.name)
        if key not in self.cache:
            self.cache[key] = features(op, tile, arch)
        return self.cache[key]
