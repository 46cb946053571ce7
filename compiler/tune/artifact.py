"""What the builder hands to a runner: an operator, its decisions and its weights' key, as text."""

import dataclasses
import json
from collections.abc import Mapping

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from ...target.arch import Arch, load_arch
from ...target.errors import ConfigError, MicroscopiqError
from ..kinds.registry import from_attribute, kind_of
from ..operators import Gemm, to_attribute
from ..tiling.tile import GemmTile
from ..tuned.space import arch_of, operator_of, tile_of


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An operator, its decisions, the machine, and the key of the weights to measure with.

    Without a key (`measure.weights_key`) weights are stand-ins of the operator's shape.
    """

    op: Gemm
    tile: GemmTile
    arch: Arch
    weights: str = ""

    def segment(self, segments: Mapping[str, bytes]) -> bytes | None:
        """Return the weights of this key, None where stand-ins are to be measured.

        Raises
        ------
        ConfigError
            When they aren't among these.
        """
        if not self.weights:
            return None
        if self.weights not in segments:
            raise ConfigError(
                f"weights {self.weights[:16]} of a candidate aren't among the {len(segments)} that "
                "its runner was given"
            )
        return segments[self.weights]

    def to_text(self) -> str:
        """Return the text form: a builder's artifact path."""
        keys = {field.name: getattr(self.arch, field.name) for field in dataclasses.fields(Arch)}
        tile = dataclasses.asdict(self.tile)
        op = to_attribute(self.op)
        return json.dumps({"op": op, "tile": tile, "arch": keys, "weights": self.weights})

    @staticmethod
    def from_text(text: str) -> "Candidate":
        """Return the candidate of a text form."""
        parts = json.loads(text)
        keys = {**parts["arch"], "weight_formats": tuple(parts["arch"]["weight_formats"])}
        op = from_attribute(parts["op"])
        return Candidate(op, kind_of(op).tile(**parts["tile"]), Arch(**keys), parts["weights"])


@derived_object
class Builder(ms.builder.PyBuilder):
    """Reads the decisions out of candidates; `tune_relax(..., builder=Builder())`.

    What a candidate's program is, its runner makes: in another process, or for another machine.

    Parameters
    ----------
    arch : str or Arch, optional
        The machine; the one that a candidate's target names unless given.
    weights : dict, optional
        Keys of weights by operator, which the runner knows; stand-ins for others.
    """

    def __init__(self, arch: str | Arch | None = None, weights: Mapping[Gemm, str] | None = None):
        self.arch, self.weights = arch, weights or {}

    def build(self, build_inputs):
        """Return an artifact for each candidate, or why there is none."""
        return [self._one(item) for item in build_inputs]

    def _one(self, item):
        try:
            arch = arch_of(item.target) if self.arch is None else load_arch(self.arch)
            op, tile = operator_of(item.mod), tile_of(item.mod, arch)
            if tile is None:
                return ms.builder.BuilderResult(None, "the array doesn't run this function")
            candidate = Candidate(op, tile, arch, self.weights.get(op, ""))
            return ms.builder.BuilderResult(candidate.to_text(), None)
        except MicroscopiqError as error:
            return ms.builder.BuilderResult(None, f"{type(error).__name__}: {error}")
