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
    """A product with a constant matrix ``(in, out)``; a shift ``(out,)`` is added."""

    weight: np.ndarray
    shift: np.ndarray | None = None

    def __call__(self, operands: tuple[np.ndarray, ...], out: np.ndarray, tap: Tap | None) -> None:
        """Multiply ``(..., in)``."""
        for part in self.parts(operands[0]):
            if tap is not None:
                tap(*part)
            found = out.reshape(-1, self.weight.shape[1])
            np.matmul(part[1], self.weight, out=found)
            if self.shift is not None:
                found += self.shift

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
    shift : numpy.ndarray or None
        ``(out,)``, to be added.
    """

    weight: np.ndarray
    groups: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    shift: np.ndarray | None = None

    def __call__(self, operands: tuple[np.ndarray, ...], out: np.ndarray, tap: Tap | None) -> None:
        """Convolve ``(batch, in, height, width)``, several small images or rows of a large one."""
        outputs = out.shape[1]
        matrices = self.weight.reshape(self.groups, outputs // self.groups, -1)
        for number, top, start, windows in self.gathered(operands[0]):
            patches = self.patches(windows)
            part = out[number : number + len(windows), :, top : top + windows.shape[2]]
            found = np.matmul(matrices, patches).reshape(outputs, len(part), *part.shape[2:])
            part[...] = found.swapaxes(0, 1)
            if self.shift is not None:
                part += self.shift[:, None, None]
            if tap is not None:
                for group, columns in enumerate(patches):
                    tap(group, columns.T, start)

    def parts(self, x: np.ndarray) -> Iterator[Part]:
        """Yield all rows of an operand, in the order in which a tap sees them."""
        for _, _, start, windows in self.gathered(x):
            for group, columns in enumerate(self.patches(windows)):
                yield group, columns.T, start

    def gathered(self, x: np.ndarray) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """Yield windows few enough for `PATCH_BYTES`.

        Before them the first image and the first row of its result, and how many pixels came
        before all those.
        """
        windows = self.windows(x)
        height, width = windows.shape[2:4]
        row_bytes = 4 * windows[0, :, 0].size
        step, images = max(1, PATCH_BYTES // row_bytes), max(1, PATCH_BYTES // (row_bytes * height))
        for number in range(0, len(x), images):
            for top in range(0, height, step):
                part = windows[number : number + images, :, top : top + step]
                yield number, top, (number * height + top) * width, part

    def windows(self, data: np.ndarray) -> np.ndarray:
        """Return a view ``(batch, in, height, width, kernel height, kernel width)`` of images."""
        top, left, bottom, right = self.pads
        padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
        (down, across), kernel = self.dilation, self.weight.shape[2:]
        reach = (down * (kernel[0] - 1) + 1, across * (kernel[1] - 1) + 1)
        view = sliding_window_view(padded, reach, axis=(2, 3))
        return view[:, :, :: self.strides[0], :: self.strides[1], ::down, ::across]

    def patches(self, windows: np.ndarray) -> np.ndarray:
        """Return windows as ``(groups, in, pixels)``: channel, kernel row, kernel column."""
        batch, channels, height, width, *kernel = windows.shape
        shape = (batch, self.groups, channels // self.groups, height, width, *kernel)
        gathered = windows.reshape(shape).transpose(1, 2, 5, 6, 0, 3, 4)
        return gathered.reshape(self.groups, -1, batch * height * width)


Weighted = Linear | Convolution
