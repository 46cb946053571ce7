"""The search: score every legal tile at once, measure the most promising and some by chance.

A space has hundreds to thousands of tiles, few enough to look at all of them, so nothing is bred
from samples and no trace is replayed but those that are measured. The first candidate is the
default schedule: what is tuned never loses to it.
"""

import random
import sys
from collections.abc import Mapping

from tvm import s_tir
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...target.arch import Arch, load_arch
from ..kinds.registry import kind_of
from ..operators import Gemm
from ..tiling.legal import default_gemm_tile, legal_tiles
from ..tiling.tile import GemmTile
from ..tuned.space import SAMPLED, arch_of, operator_of, structure, tile_of, unchecked
from .model import TileModel
from .records import records_of

GREEDY = 0.9
"""Share of a batch that the model chooses."""


@derived_object
class Search(ms.search_strategy.PySearchStrategy):
    """Chooses what to measure; `tune_relax(..., strategy=Search(model))`.

    Parameters
    ----------
    model : TileModel, optional
        Ranks the candidates; by chance without one.
    arch : str or Arch, optional
        The machine; the one that a task's target names unless given.
    trials : int, optional
        Candidates of all its clones together: MetaSchedule itself stops at the end of a batch.
    weights : dict, optional
        Keys of weights by operator: what others were measured with is measured again.
    """

    def __init__(
        self,
        model: TileModel | None = None,
        arch: str | Arch | None = None,
        seed: int = 1,
        trials: int | None = None,
        weights: Mapping[Gemm, str] | None = None,
    ):
        self.model, self.arch, self.seed = model, arch, seed
        self.weights = weights or {}
        self.shared = [sys.maxsize if trials is None else trials]
        self.op: Gemm | None = None
        self.left: list[GemmTile] = []
        self.spaces: dict[tuple, s_tir.Schedule] = {}

    def _initialize_with_tune_context(self, context) -> None:
        """Take the task's operator and machine."""
        op = operator_of(context.mod)
        self.op = op if op is not None and kind_of(op).tunable else None
        self.machine = arch_of(context.target) if self.arch is None else load_arch(self.arch)
        self.module = context.mod
        self.random = random.Random(self.seed)

    def stop(self) -> None:
        """Propose nothing more, in any clone."""
        self.shared[0] = 0

    def pre_tuning(
        self, max_trials, num_trials_per_iter, design_spaces, database=None, _cost_model=None
    ) -> None:
        """Look up what a database has measured already."""
        self.budget, self.batch = int(max_trials), int(num_trials_per_iter)
        self.left = []
        if self.op is None:
            return
        self.spaces = {}
        self.plain = unchecked(self.module)
        self.arguments = ms.arg_info.ArgInfo.from_entry_func(self.module, remove_preproc=True)
        for space in design_spaces:
            tile = tile_of(space.mod, self.machine)
            if tile is not None:
                self.spaces[structure(tile)] = space
        records = records_of(database, self.module, self.machine) if database else []
        weights = self.weights.get(self.op, "")
        known = {record.tile for record in records if record.source.weights == weights}
        first = default_gemm_tile(self.op, self.machine)
        tiles = [tile for tile in legal_tiles(self.op, self.machine) if tile not in known]
        self.random.shuffle(tiles)
        self.left = [first] * (first in tiles) + [tile for tile in tiles if tile != first]
        self.fresh = first in tiles

    def post_tuning(self) -> None:
        """Nothing is kept."""
        self.left = []

    def generate_measure_candidates(self):
        """Return the next batch, None when all is measured."""
        count = min(self.batch, self.budget, self.shared[0], len(self.left))
        if count <= 0:
            return None
        chosen = self._choose(count)
        self.budget -= count
        self.shared[0] -= count
        taken = set(chosen)
        self.left = [tile for tile in self.left if tile not in taken]
        self.fresh = False
        return [self._candidate(tile) for tile in chosen]

    def _choose(self, count: int) -> list[GemmTile]:
        if self.model is None or self.op is None:
            return self.left[:count]
        scores = self.model.score(self.op, self.machine, self.left)
        ranked = sorted(range(len(self.left)), key=lambda n: -scores[n])
        first = [0] if self.fresh else []
        greedy = max(1, int(GREEDY * count)) if count > 1 else count
        order = [*first, *[n for n in ranked if n not in first]]
        chosen = order[:greedy]
        rest = order[greedy:]
        chosen += self.random.sample(rest, count - len(chosen))
        return [self.left[n] for n in chosen]

    def _candidate(self, tile: GemmTile):
        trace = self.spaces[structure(tile)].trace
        sampled = [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]
        for inst, name in zip(sampled, SAMPLED, strict=True):
            place = [int(value) for value in inst.attrs[0]].index(getattr(tile, name))
            trace = trace.with_decision(inst, place, remove_postproc=True)
        # A schedule of a module takes milliseconds to make, a copy of one doesn't.
        schedule = self.plain.copy()
        trace.apply_to_schedule(schedule, remove_postproc=True)
        return ms.search_strategy.MeasureCandidate(schedule, self.arguments)

    def notify_runner_results(self, measure_candidates, results) -> None:
        """The model learns by its own callback."""

    def clone(self):
        """Return a search of its own for another task, with the same model."""
        other = Search(self.model, self.arch, self.seed, weights=self.weights)
        other.shared = self.shared
        return other
