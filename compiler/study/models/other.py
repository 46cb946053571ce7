"""Models of graphs, tables, volumes and controllers."""

from .registry import architecture, module


@architecture("MLP")
def mlp():
    import torch
    from torch import nn

    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    ), (torch.randn(4, 16),)


@architecture("GNN")
def gnn():
    """Messages along edges, added up at the nodes that they go to."""
    import torch
    from torch import nn

    def forward(self, x, edges):
        for layer in self.layers:
            sent = layer(x)[edges[0]]
            place = edges[1][:, None].expand(-1, sent.shape[1])
            x = torch.zeros(x.shape[0], sent.shape[1]).scatter_add(0, place, sent).relu()
        return self.head(x.mean(0))

    layers = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 16)])
    edges = torch.randint(0, 10, (2, 24))
    return module(forward, layers=layers, head=nn.Linear(16, 3)), (torch.randn(10, 8), edges)


@architecture("DLRM")
def dlrm():
    """Bags of embeddings, their products with each other, and two small networks."""
    import torch
    from torch import nn

    def forward(self, dense, ids, offsets):
        vectors = torch.stack([self.bottom(dense), *(bag(ids, offsets) for bag in self.bags)], 1)
        products = vectors @ vectors.transpose(1, 2)
        rows, columns = torch.tril_indices(3, 3, -1)
        features = torch.cat([vectors[:, 0], products[:, rows, columns]], 1)
        return self.top(features).sigmoid()

    return module(
        forward, bottom=nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8)),
        bags=nn.ModuleList(nn.EmbeddingBag(20, 8, mode="sum") for _ in range(2)),
        top=nn.Sequential(nn.Linear(11, 16), nn.ReLU(), nn.Linear(16, 1)),
    ), (torch.randn(2, 4), torch.randint(0, 20, (5,)), torch.tensor([0, 2]))  # fmt: skip


@architecture("Conv3d network")
def conv3d():
    import torch
    from torch import nn

    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 4),
    ), (torch.randn(1, 1, 8, 8, 8),)  # fmt: skip


@architecture("Counter", onnx=False)
def counter():
    """A filter that remembers: its state goes from call to call."""
    import torch
    from torch import nn

    def forward(self, x):
        self.memory.copy_(0.5 * self.memory + self.mix(x))
        return self.head(self.memory)

    model = module(forward, mix=nn.Linear(8, 16), head=nn.Linear(16, 4))
    model.register_buffer("memory", torch.zeros(1, 16))
    return model, (torch.randn(1, 8),)
