"""Models of half precision: their import is in fp32, which holds all their numbers."""

HALVES = ("torch.float16", "torch.bfloat16")


def in_fp32(program) -> None:
    """Make a decomposed program compute in float32 what it computes in halves, in place."""
    import torch
    from torch.fx.node import map_aggregate

    def half(value) -> bool:
        return isinstance(value, torch.dtype) and str(value) in HALVES

    def wide(value):
        if isinstance(value, torch.Tensor) and half(value.dtype):
            return value.detach().float()
        return torch.float32 if half(value) else value

    for tensors in (program.state_dict, program.constants):
        for name, value in tensors.items():
            found = wide(value)
            if found is not value and isinstance(value, torch.nn.Parameter):
                found = torch.nn.Parameter(found, requires_grad=False)
            tensors[name] = found
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.args = map_aggregate(node.args, wide)
                node.kwargs = map_aggregate(node.kwargs, wide)
                for key in {"val", "tensor_meta"} & set(node.meta):
                    node.meta[key] = map_aggregate(node.meta[key], wide)
