"""Models of series, step by step or by convolutions."""

from .registry import architecture, module


@architecture("LSTM")
def lstm():
    import torch
    from torch import nn

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])

    cells = nn.LSTM(8, 16, num_layers=2, batch_first=True)
    return module(forward, cells=cells, head=nn.Linear(16, 4)), (torch.randn(1, 6, 8),)


@architecture("Bidirectional LSTM")
def bidirectional():
    import torch
    from torch import nn

    def forward(self, x):
        return self.head(self.cells(x)[0])

    cells = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
    return module(forward, cells=cells, head=nn.Linear(32, 4)), (torch.randn(1, 6, 8),)


@architecture("GRU")
def gru():
    import torch
    from torch import nn

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])

    cells = nn.GRU(8, 16, batch_first=True)
    return module(forward, cells=cells, head=nn.Linear(16, 4)), (torch.randn(1, 6, 8),)


@architecture("TCN")
def tcn():
    import torch
    from torch import nn

    return nn.Sequential(
        nn.Conv1d(4, 16, 3, padding=2, dilation=2), nn.ReLU(),
        nn.Conv1d(16, 16, 3, padding=4, dilation=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(16, 4),
    ), (torch.randn(1, 4, 32),)  # fmt: skip
