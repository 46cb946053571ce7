"""Finds the constants that divide a value when they are divided: norms, factors, weights.

Only through operators for which ``f(y / s) = f(y) / s`` with positive factors of channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from ...partition.graph import Graph, op_name, shape_of, static_shape

HOMOGENEOUS = ("negative", "nn.leakyrelu", "nn.relu")
"""Operators of one operand that a positive factor passes."""
NORMS = {"nn.layer_norm": (1, 2), "nn.rms_norm": (1,)}
"""Operands behind a norm's own scaling."""
RESULT_AXES = {"matmul": -1, "nn.conv2d": -3}
"""Products, and where their results have the channels."""


@dataclass(frozen=True)
class Edit:
    """A constant operand that is to be multiplied by an array that broadcasts with it."""

    call: Any
    index: int
    factor: np.ndarray


class Fold:
    """Multiplies values by one array of positive factors, ``(channels, 1, ...)``.

    Each method returns the edits that do so, None where there are none.
    """

    def __init__(self, graph: Graph, factors: np.ndarray):
        self.graph, self.factors = graph, factors
        self.axis = -factors.ndim

    def value(self, expr) -> list[Edit] | None:
        """Change a value that one operand and nothing else reads."""
        return self.only_used_here(expr) if self.graph.only_user(expr) else None

    def only_used_here(self, expr) -> list[Edit] | None:
        """Change a value whose readers all expect it."""
        value, shape = self.graph.definition.get(expr), static_shape(expr)
        if value is None or shape is None or len(shape) < -self.axis:
            return None
        if shape[self.axis] != len(self.factors):
            return None
        name = op_name(value)
        if isinstance(value, relax.TupleGetItem):
            return self.batch_norm(value)
        if name in HOMOGENEOUS:
            return self.value(value.args[0])
        if name == "reshape":
            before = static_shape(value.args[0])
            kept = self.axis == -1 and before is not None and before[-1:] == shape[-1:]
            return self.value(value.args[0]) if kept else None
        if name in ("add", "subtract"):
            return self.sum(value)
        if name in ("multiply", "divide"):
            return self.product(value)
        if name in NORMS:
            return self.norm(value)
        if RESULT_AXES.get(name) == self.axis:
            return self.weight(value)
        return None

    def operand(self, call, index: int) -> list[Edit] | None:
        """Change an operand: itself if it is a constant, else what makes it."""
        if self.graph.constant(call.args[index]) is not None:
            return [Edit(call, index, self.factors)]
        return self.value(call.args[index])

    def sum(self, call) -> list[Edit] | None:
        """Change both terms of a sum or difference."""
        first, second = (self.operand(call, index) for index in (0, 1))
        return None if first is None or second is None else first + second

    def product(self, call) -> list[Edit] | None:
        """Change one factor, a constant if there is one; of a quotient rather the dividend."""
        second = call.args[1]
        if op_name(call) == "divide":
            if self.graph.constant(second) is not None:
                return [Edit(call, 1, 1 / self.factors)]
            return self.operand(call, 0)
        order = (1, 0) if self.graph.constant(second) is not None else (0, 1)
        edits = (self.operand(call, index) for index in order)
        return next((found for found in edits if found is not None), None)

    def norm(self, call) -> list[Edit] | None:
        """Change what a norm over the channels multiplies and adds at its end."""
        rank = len(shape_of(call))
        axes = [int(axis) % rank for axis in call.attrs.axes]
        if self.axis != -1 or axes != [rank - 1]:
            return None
        if op_name(call) == "nn.layer_norm" and not call.attrs.scale:
            return None
        # An offset that isn't added (`center`) may change as well.
        return self._constants(call, NORMS[op_name(call)])

    def batch_norm(self, item) -> list[Edit] | None:
        """Change what an inference batch norm multiplies and adds at its end."""
        call = self.graph.value(item.tuple_value)
        if item.index != 0 or op_name(call) != "nn.batch_norm":
            return None
        if not self.graph.only_user(item.tuple_value) or getattr(call.attrs, "training", False):
            return None
        rank = len(shape_of(call.args[0]))
        if int(call.attrs.axis) % rank != rank + self.axis or not call.attrs.scale:
            return None
        edits = self._constants(call, (1, 2))
        return edits and [Edit(call, edit.index, self.factors.reshape(-1)) for edit in edits]

    def weight(self, call) -> list[Edit] | None:
        """Change the output channels of a product with a constant matrix or kernel."""
        weight = self.graph.constant(call.args[1])
        if weight is None:
            return None
        if op_name(call) == "matmul":
            return [Edit(call, 1, self.factors)] if weight.ndim == 2 else None
        layouts = (call.attrs.data_layout, call.attrs.kernel_layout, call.attrs.out_layout)
        if tuple(map(str, layouts)) != ("NCHW", "OIHW", "NCHW"):
            return None
        return [Edit(call, 1, self.factors.reshape(-1, 1, 1, 1))]

    def _constants(self, call, indices: tuple[int, ...]) -> list[Edit] | None:
        if any(self.graph.constant(call.args[index]) is None for index in indices):
            return None
        return [Edit(call, index, self.factors) for index in indices]
