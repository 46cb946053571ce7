"""Inputs whose values decide shapes: a program has fixed ones, and can't take them at run time."""

import onnx

VALUES_NEEDED: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "BlackmanWindow": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "TensorScatter": (),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **{
        f"Reduce{name}": (1,)
        for name in (
            "L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"
        )
    },
}  # fmt: skip
"""By operator, the positions of inputs that must be known while compiling."""


def inputs_that_decide_shapes(model: onnx.ModelProto) -> set[str]:
    """Return the names of inputs from which an operator's shapes or axes are computed."""
    made_by = {name: node for node in model.graph.node for name in node.output if name}
    pending = [
        node.input[position]
        for node in model.graph.node
        for position in VALUES_NEEDED.get(node.op_type, ())
        if position < len(node.input)
    ]
    needed: set[str] = set()
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        node = made_by.get(name)
        if node is not None and node.op_type not in ("Shape", "Size"):
            pending += node.input
    return needed & {value.name for value in model.graph.input}
