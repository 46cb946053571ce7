"""Matrix products and convolutions of a calibration run: BLAS, and the rows it multiplied.

TVM's own, unscheduled, take some hundred times as long.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PATCH_BYTES = 1 << 24
"""Size of the gathered rows of a convolution that are held at once."""

Tap = Callable[[int, np.ndarray, int], None]
"""Takes (group, rows ``(rows, in)``, number of the first row within the call)."""
Product = Callable[[tuple[np.ndarray, ...], np.ndarray, Tap | None], None]
"""Takes operands, the result's memory, and who wants to see the rows."""
Part = tuple[int, np.ndarray, int]
"""What a `Tap` takes."""


def matmul(operands: tuple[np.ndarray, ...], out: np.ndarray, _tap: Tap | None) -> None:
    """Multiply two activations."""
    left, right = operands
    np.matmul(left, right, out=out)


@dataclass(frozen=True)
class Linear:
    """A product with a constant matrix ``(in, out)``."""

    weight: np.ndarray

    def __call__(self, operands: tuple[np.ndarray, ...], out: np.ndarray, tap: Tap | None) -> None:
        """Multiply ``(..., in)``."""
        for part in self.parts(operands[0]):
            if tap is not None:
                tap(*part)
            np.matmul(part[1], self.weight, out=out.reshape(-1, self.weight.shape[1]))

    def parts(self, x: np.ndarray) -> Iterator[Part]:
        """Yield all rows of an operand, in the order in which a tap sees them."""
        yield 0, x.reshape(-1, self.weight.shape[0]), 0


@dataclass(frozen=True)
class Convolution:
    """A convolution with a constant kernel, as a product with gathered rows.

    Attributes
    ----------
    weight : numpy.ndarray
        ``(out, in / groups, kernel height, kernel width)``.
    pads : tuple of int
        Top, left, bottom, right.
    """

    weight: np.ndarray
    groups: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]

    def __call__(self, operands: tuple[np.ndarray, ...], out: np.ndarray, tap: Tap | None) -> None:
        """Convolve ``(batch, in, height, width)`` image by image."""
        outputs, height, width = out.shape[1:]
        matrices = self.weight.reshape(self.groups, outputs // self.groups, -1)
        for number, top, patches in self.gathered(operands[0]):
            part = out[number, :, top : top + patches.shape[2] // width]
            part[...] = np.matmul(matrices, patches).reshape(part.shape)
            if tap is not None:
                for group, columns in enumerate(patches):
                    tap(group, columns.T, (number * height + top) * width)

    def parts(self, x: np.ndarray) -> Iterator[Part]:
        """Yield all rows of an operand, in the order in which a tap sees them."""
        height, width = self.windows(x[0]).shape[1:3]
        for number, top, patches in self.gathered(x):
            for group, columns in enumerate(patches):
                yield group, columns.T, (number * height + top) * width

    def gathered(self, images: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (image, first row of its result, patches), few enough for `PATCH_BYTES`."""
        for number, image in enumerate(images):
            windows = self.windows(image)
            height, width = windows.shape[1:3]
            step = max(1, PATCH_BYTES // (4 * width * windows[:, 0, 0].size))
            for top in range(0, height, step):
                yield number, top, self.patches(windows[:, top : top + step])

    def windows(self, image: np.ndarray) -> np.ndarray:
        """Return a view ``(in, height, width, kernel height, kernel width)`` of an image."""
        top, left, bottom, right = self.pads
        padded = np.pad(image, ((0, 0), (top, bottom), (left, right)))
        (down, across), kernel = self.dilation, self.weight.shape[2:]
        reach = (down * (kernel[0] - 1) + 1, across * (kernel[1] - 1) + 1)
        view = sliding_window_view(padded, reach, axis=(1, 2))
        return view[:, :: self.strides[0], :: self.strides[1], ::down, ::across]

    def patches(self, windows: np.ndarray) -> np.ndarray:
        """Return windows as ``(groups, in, pixels)``: channel, kernel row, kernel column."""
        channels, height, width, *kernel = windows.shape
        split = windows.reshape(self.groups, channels // self.groups, height, width, *kernel)
        gathered = split.transpose(0, 1, 4, 5, 2, 3)
        return gathered.reshape(self.groups, -1, height * width)


Weighted = Linear | Convolution
