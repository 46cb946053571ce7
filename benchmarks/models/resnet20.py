"""ResNet-20 for CIFAR-10 (He et al. 2015, section 4.2) with parameter-free shortcuts.

Where a stage halves the image and doubles the channels, the shortcut is "option A": every second
pixel of the input, with zero channels added on both sides. Module names are those of the
checkpoint. The author reports 91.7 % on the CIFAR-10 test set. CIFAR-10 itself is not available
here, so outputs are compared with the fp32 model on synthetic images (see `smooth_images`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import RealModel, data_file

CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around an option-A shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float32 (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1 or self.extra:
            x = x[:, :, :: self.stride, :: self.stride]
            before = self.extra // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.extra - before))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, stride=1)
        self.layer2 = self._stage(16, 32, stride=2)
        self.layer3 = self._stage(32, 64, stride=2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride),
            BasicBlock(outputs, outputs, 1),
            BasicBlock(outputs, outputs, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class logits (B, 10) of normalised float32 images (B, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def smooth_images(count: int, seed: int = 0) -> torch.Tensor:
    """Make images with the statistics of photographs, not their content.

    White noise would excite the network unlike any picture. Each image here is a background of
    one colour with noise over it whose amplitude falls with spatial frequency, as in photographs
    (a power between -1 and -2.2, the contrast random too), and one ellipse or rectangle, for the
    edges that objects have. The network puts 200 of them into nine of its ten classes, with a mean
    confidence of 0.79.

    Parameters
    ----------
    count : int
        Number of images.
    seed : int
        Seed of the generator; image ``i`` does not depend on ``count``.

    Returns
    -------
    torch.Tensor
        float32 (count, 3, 32, 32), pixels in [0, 1] normalised by the CIFAR checkpoint's
        channel means and deviations.
    """
    axis = torch.fft.fftfreq(32)
    # The constant component has frequency 0; give it the lowest other one.
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2).clamp(min=1.0 / 32.0)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    images = []
    for index in range(count):
        generator = torch.Generator().manual_seed(seed * 100_003 + index)
        falloff, contrast, kind = torch.rand(3, generator=generator)
        background, colour = torch.rand(2, 3, 1, 1, generator=generator)
        # First the pattern that all three channels share, then a weaker one for each channel.
        spectrum = torch.fft.fft2(torch.randn(4, 32, 32, generator=generator))
        planes = torch.fft.ifft2(spectrum * radius ** -(1.0 + 1.2 * falloff)).real
        planes = planes / planes.std(dim=(1, 2), keepdim=True)
        noise = (0.02 + 0.18 * contrast) * (planes[:1] + 0.4 * planes[1:])
        image = 0.1 + 0.8 * background + noise

        centre = 8.0 + 16.0 * torch.rand(2, generator=generator)
        size = 3.0 + 9.0 * torch.rand(2, generator=generator)
        dy, dx = (rows - centre[0]) / size[0], (columns - centre[1]) / size[1]
        inside = dy**2 + dx**2 < 1.0 if kind < 0.5 else torch.maximum(dy.abs(), dx.abs()) < 1.0
        image = torch.where(inside, 0.1 * image + 0.9 * colour, image)
        images.append(image.clamp(0.0, 1.0))
    mean = torch.tensor(CHANNEL_MEAN)[:, None, None]
    std = torch.tensor(CHANNEL_STD)[:, None, None]
    return (torch.stack(images) - mean) / std


def load(batch: int = 1) -> RealModel:
    """Load the pretrained ResNet-20 with inputs float32 (batch, 3, 32, 32)."""
    path = data_file("resnet_cifar10", "resnet20-12fca82f.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    module = ResNet20()
    # The checkpoint was saved from a DataParallel wrapper, which prefixes every name.
    module.load_state_dict({name.removeprefix("module."): t for name, t in state.items()})

    def batches(count: int = 4) -> list[tuple[torch.Tensor, ...]]:
        # Seed 1, so that the calibration images are not the example image.
        return [(images,) for images in smooth_images(count * batch, seed=1).split(batch)]

    return RealModel("resnet20", module.eval(), (smooth_images(batch),), batches)
