"""ResNet for 32 x 32 images with 6n+2 layers (He et al., 2015, arXiv:1512.03385, section 4.2), shortcuts without parameters.

    bessemer convert resnet20.th --factory examples/architectures/resnet_cifar.py:resnet20 --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two convolutions beside their input; a wider block takes every second pixel and fills up with zero channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.extra = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            half = self.extra // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return functional.relu(y + x)


class ResNet(nn.Module):
    """`blocks` blocks of each width."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = self._layer(WIDTHS[0], WIDTHS[0], blocks, 1)
        self.layer2 = self._layer(WIDTHS[0], WIDTHS[1], blocks, 2)
        self.layer3 = self._layer(WIDTHS[1], WIDTHS[2], blocks, 2)
        self.linear = nn.Linear(WIDTHS[2], classes)

    @staticmethod
    def _layer(before: int, after: int, blocks: int, stride: int) -> nn.Sequential:
        first = Block(before, after, stride)
        return nn.Sequential(first, *(Block(after, after, 1) for _ in range(blocks - 1)))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 32, 32), normalised -> (N, classes) logits."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20() -> tuple[nn.Module, Tensor, dict[str, object]]:
    """20 layers; any batch."""
    return ResNet(3), torch.rand(2, 3, 32, 32), {"image": {0: torch.export.Dim("batch")}}


def resnet32() -> tuple[nn.Module, Tensor, dict[str, object]]:
    """32 layers; any batch."""
    return ResNet(5), torch.rand(2, 3, 32, 32), {"image": {0: torch.export.Dim("batch")}}


def resnet56() -> tuple[nn.Module, Tensor, dict[str, object]]:
    """56 layers; any batch."""
    return ResNet(9), torch.rand(2, 3, 32, 32), {"image": {0: torch.export.Dim("batch")}}
