"""Cost models at equal trials: the project's, TVM's PerStoreFeature, and chance.

python -m benchmarks.tuning [--trials N] [--seeds N] [--json]

Ten layers of `benchmarks.schedules`, each tuned alone from the same random first batch, without the
default schedule and without other layers: what the model itself is worth. A figure is the mean,
over the seeds, of cycles of the best found over those of the best known of any run. Search and
trees are the same, so that only what they see differs: TVM's features are of the scheduled TIR.
"""

import argparse
import json
import random
import statistics
import sys

import numpy as np
import xgboost
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tvm import target
from tvm.s_tir import meta_schedule as ms

from benchmarks.schedules import gemms, minilm, resnet20
from microscopiq.compiler.kinds.registry import scheduled
from microscopiq.compiler.operators import Gemm
from microscopiq.compiler.tiling.legal import legal_tiles
from microscopiq.compiler.tiling.tile import GemmTile
from microscopiq.compiler.tune.measure import measure
from microscopiq.compiler.tune.model import PARAMETERS, ROUNDS, TileModel
from microscopiq.compiler.tune.tuner import own_intrinsics_only
from microscopiq.compiler.tuned.database import workload
from microscopiq.target.arch import Arch, load_arch

BATCH, GREEDY, SEEN = 16, 14, 64
"""Candidates a batch, those that the model chooses, and those that it looks at."""
GOAL = 8
LAYERS = {
    "gemms": ("r18_Conv1", "r18_Conv3_s", "r18_Conv4_s", "g512", "bert_qkvo_proj(x4)"),
    "minilm": ("query, key, value", "scores", "context"),
    "resnet20": ("stage1", "stage2"),
}


_STORES: dict[tuple, np.ndarray] = {}
"""Features of tiles: scheduling them takes most of the time."""


class PerStore:
    """Trees over TVM's PerStoreFeature of the scheduled function, summed over its stores."""

    def __init__(self, arch: Arch, seed: int):
        self.arch, self.seed, self.booster = arch, seed, None
        self.rows: list[np.ndarray] = []
        self.targets: list[float] = []
        self.extractor = ms.feature_extractor.PerStoreFeature()
        self.context = None
        self.known = _STORES

    def seen(self, op: Gemm, tile: GemmTile) -> np.ndarray:
        """Return the features of a tile."""
        if self.context is None:
            with own_intrinsics_only():
                self.context = ms.TuneContext(
                    mod=workload(op), target=target.Target("llvm"), num_threads=1
                )
        if (op, tile) not in self.known:
            candidate = ms.search_strategy.MeasureCandidate(scheduled(op, self.arch, tile), [])
            (found,) = self.extractor.extract_from(self.context, [candidate])
            self.known[op, tile] = np.log1p(np.abs(found.numpy())).sum(0)
        return self.known[op, tile]

    def learn(self, op: Gemm, _arch: Arch, measured: list) -> None:
        """Train on all that was measured."""
        self.rows += [self.seen(op, tile) for tile, _ in measured]
        self.targets += [float(np.log(count)) for _, count in measured]
        data = xgboost.DMatrix(np.array(self.rows), np.array(self.targets), nthread=1)
        self.booster = xgboost.train({**PARAMETERS, "seed": self.seed}, data, ROUNDS)

    def score(self, op: Gemm, _arch: Arch, tiles: list[GemmTile]) -> np.ndarray:
        """Return a score for each tile."""
        rows = np.array([self.seen(op, tile) for tile in tiles])
        return -self.booster.predict(xgboost.DMatrix(rows, nthread=1))


class Chance:
    """No model."""

    def learn(self, *_):
        """Learn nothing."""

    def score(self, _op, _arch, tiles: list[GemmTile]) -> np.ndarray:
        """Return zeros: the order that is there stays."""
        return np.zeros(len(tiles))


MODELS = {
    "microscopiq": TileModel,
    "PerStoreFeature": PerStore,
    "random": lambda _arch, _seed: Chance(),
}


def search(op: Gemm, arch: Arch, model, seed: int, trials: int, cache: dict) -> int:
    """Return the least cycles that a model finds; all models start with the same batch."""
    rng = random.Random(seed)
    left = list(legal_tiles(op, arch))
    rng.shuffle(left)
    measured: list = []
    while len(measured) < trials and left:
        count = min(BATCH, trials - len(measured))
        chosen = left[:count]
        if measured:
            some = left[:SEEN]
            scores = model.score(op, arch, some)
            ranked = [some[n] for n in np.argsort(-scores, kind="stable")]
            chosen = ranked[: min(count, GREEDY)]
            chosen += [tile for tile in left[::-1] if tile not in chosen][: count - len(chosen)]
        for tile in chosen:
            if tile not in cache:
                cache[tile] = measure(op, tile, arch)
        batch = [(tile, cache[tile]) for tile in chosen]
        measured += batch
        model.learn(op, arch, batch)
        taken = set(chosen)
        left = [tile for tile in left if tile not in taken]
        rng.shuffle(left)
    return min(count for _, count in measured)


def compare(name: str, op: Gemm, arch: Arch, seeds: int, trials: int) -> dict:
    """Return a layer's figures by model."""
    cache: dict = {}
    found = {
        label: [
            search(op, arch, make(arch, seed + 1), seed, trials, cache) for seed in range(seeds)
        ]
        for label, make in MODELS.items()
    }
    best = min(cache.values())
    means = {label: statistics.mean(values) / best for label, values in found.items()}
    return {"layer": name, "legal": len(legal_tiles(op, arch)), "best": best, "found": found,
            "over_best": means}  # fmt: skip


def main() -> int:
    """Compare; exit with 1 when the model doesn't beat chance on 8 of 10 layers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--format", default="int4", help="weight format")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    arch = load_arch("microscopiq-64x64")
    makers = {"gemms": gemms, "minilm": minilm, "resnet20": resnet20}
    layers = [
        layer
        for group, names in LAYERS.items()
        for layer in makers[group](args.format, arch)
        if layer[0] in names
    ]
    quiet = Console(stderr=True)
    rows = [
        compare(name, op, arch, args.seeds, args.trials)
        for name, op in track(layers, "layers", console=quiet)
    ]
    wins = {
        other: sum(row["over_best"]["microscopiq"] < row["over_best"][other] for row in rows)
        for other in ("random", "PerStoreFeature")
    }
    if args.json:
        print(json.dumps({"rows": rows, "wins": wins}, indent=1))
    else:
        print_table(rows, wins, args)
    return int(wins["random"] < GOAL)


def print_table(rows: list[dict], wins: dict[str, int], args) -> None:
    """Print a row per layer."""
    table = Table(title=f"best of {args.trials} trials over the best known, {args.seeds} seeds")
    table.add_column("layer")
    for heading in ("legal tiles", "best cycles", *MODELS):
        table.add_column(heading, justify="right")
    for row in rows:
        means = [f"{100 * (row['over_best'][label] - 1):.2f} %" for label in MODELS]
        table.add_row(row["layer"], f"{row['legal']:,}", f"{row['best']:,}", *means)
    console = Console(width=110)
    console.print(table)
    console.print(f"better than chance on {wins['random']} of {len(rows)} layers, than "
                  f"PerStoreFeature on {wins['PerStoreFeature']}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
