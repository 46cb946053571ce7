"""Models that change buffers, parameters or their inputs: `frontend/torch/state.py`."""

import pytest

import microscopiq as mq

torch = pytest.importorskip("torch")


class Sum(torch.nn.Module):
    """Adds its inputs up over calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


class Overwrites(torch.nn.Module):
    def forward(self, x):
        x.add_(1)
        return x * 2


@pytest.mark.parametrize(("model", "what"), [(Sum, "buffer 'total'"), (Overwrites, "input 'x'")])
def test_a_model_that_changes_something_is_refused(model, what):
    with pytest.raises(mq.UnsupportedError, match=f"changes {what} in place"):
        mq.load_model(model(), (torch.ones(3),))
