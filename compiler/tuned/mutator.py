"""A mutation of one sampled decision, for MetaSchedule's own evolutionary search."""

import random

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms


@derived_object
class MutateTile(ms.mutator.PyMutator):
    """Draws one of a trace's categorical decisions anew."""

    def __init__(self):
        self.random = random.Random(1)

    def _initialize_with_tune_context(self, context) -> None:
        """Nothing of the task is needed."""

    def apply(self, trace, _=None):
        """Return the trace with another decision, None when it has no choice."""
        sampled = [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]
        sampled = [inst for inst in sampled if len(inst.attrs[0]) > 1]
        if not sampled:
            return None
        inst = self.random.choice(sampled)
        others = [n for n in range(len(inst.attrs[0])) if n != int(trace.decisions[inst])]
        return trace.with_decision(inst, self.random.choice(others), remove_postproc=True)

    def clone(self):
        """Return a mutator of its own for another task."""
        return MutateTile()
