"""What PT2E and torchao export: their integers on the array, against PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
# Importing it registers the operators that PT2E writes.
pytest.importorskip("torch.ao.quantization.fx._decomposed")

from microscopiq.compiler.driver import compile_model  # noqa: E402
from microscopiq.compiler.options import Options  # noqa: E402
from microscopiq.compiler.verify import run_reference  # noqa: E402
from microscopiq.runtime.session import Session  # noqa: E402
from tests.tolerance import sqnr_db  # noqa: E402

CODES = (-128, 127, torch.int8)
UNSIGNED = (0, 255, torch.uint8)


class Static(torch.nn.Module):
    """A convolution and a linear layer between quantized activations, as PT2E writes them."""

    def __init__(self) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(0)
        for name, shape in (("kernel", (6, 3, 3, 3)), ("weight", (5, 6))):
            self.register_buffer(
                name, torch.randint(-127, 128, shape, generator=made).to(torch.int8)
            )
            self.register_buffer(f"{name}_scale", torch.rand(shape[0], generator=made) / 200 + 1e-3)
            self.register_buffer(f"{name}_zero", torch.zeros(shape[0], dtype=torch.int64))
        self.register_buffer("bias", torch.randn(6, generator=made))

    def forward(self, x):
        """Return five numbers an image."""
        ops = torch.ops.quantized_decomposed
        x = ops.quantize_per_tensor.default(x, 0.021, 120, *UNSIGNED)
        x = ops.dequantize_per_tensor.default(x, 0.021, 120, *UNSIGNED)
        kernel = ops.dequantize_per_channel.default(
            self.kernel, self.kernel_scale, self.kernel_zero, 0, *CODES
        )
        x = torch.nn.functional.conv2d(x, kernel, self.bias, padding=1).relu().amax((2, 3))
        # Seven bits, as observers of some CPUs choose.
        x = ops.quantize_per_tensor.default(x, 0.09, 3, 0, 127, torch.uint8)
        x = ops.dequantize_per_tensor.default(x, 0.09, 3, 0, 127, torch.uint8)
        weight = ops.dequantize_per_channel.default(
            self.weight, self.weight_scale, self.weight_zero, 0, *CODES
        )
        return torch.nn.functional.linear(x, weight)


class WrittenOut(torch.nn.Module):
    """Integer products, and weights alone by channel and block, as torchao decomposes them."""

    def __init__(self) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(1)
        self.register_buffer("a", torch.randint(-127, 128, (8, 32), generator=made).to(torch.int8))
        self.register_buffer("b", torch.randint(-8, 8, (7, 4, 8), generator=made).to(torch.int8))
        self.register_buffer("scale", torch.rand(7, 4, 1, generator=made) / 9)
        self.register_buffer("zero", torch.randint(-8, 8, (7, 4, 1), generator=made))

    def forward(self, x):
        """Return an integer product, and two with weights alone."""
        codes = (x * 30).round().clamp(-128, 127).to(torch.int8)
        product = torch._int_mm(codes, self.a.t()).float() * 0.01
        weights = (self.b.float() - self.zero.float()) * self.scale
        return product, x @ self.a.t().float(), x @ weights.reshape(7, 32).t()


def compiled(module, x):
    """Return kinds of layers, the run's outputs, and what torch computes."""
    program = torch.export.export(module, (x,))
    state = compile_model(program, Options(arch="tiny-4x4"))
    kinds = [record.kind for record in state.layers.values() if record.weight_format]
    found = Session(state.executable).run(x.numpy()).outputs
    for have, reference in zip(found, run_reference(state, [x.numpy()]), strict=True):
        np.testing.assert_array_equal(have.view(np.int32), reference.view(np.int32))
    want = module(x)
    want = want if isinstance(want, tuple) else (want,)
    return kinds, found, [each.numpy() for each in want]


def test_static_models_equal_torch_within_the_rounding_of_fp32():
    x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(2))
    kinds, (found,), (want,) = compiled(Static(), x)
    assert kinds == ["int_conv2d", "int_linear"]
    assert np.abs(found - want).max() <= 1e-6 * np.abs(want).max()


def test_integers_that_are_written_out_are_found():
    x = torch.randn(20, 32, generator=torch.Generator().manual_seed(3))
    kinds, found, want = compiled(WrittenOut(), x)
    assert kinds == ["int_linear", "given_linear", "given_blocks"]
    np.testing.assert_array_equal(found[0], want[0])
    for have, expected in zip(found[1:], want[1:], strict=True):
        assert sqnr_db(expected, have) > 36  # activations have 8 bits
