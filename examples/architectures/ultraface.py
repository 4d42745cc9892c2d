"""Ultra-Light-Fast-Generic-Face-Detector RFB-320: a MobileNet-like chain, a receptive field block, heads at four scales.

    bessemer convert version-RFB-320.pth --factory examples/architectures/ultraface.py:rfb320 --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 2
HEADS = ((64, 3), (128, 2), (256, 2), (256, 3))
"""(channels, boxes per place) of each scale."""


def _plain(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def _depthwise(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU(),
        nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def _separable(before: int, after: int, stride: int = 1) -> nn.Sequential:
    first = nn.Conv2d(before, before, 3, stride, 1, groups=before)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(before, after, 1))


class Basic(nn.Module):
    """Convolution and normalisation, with or without ReLU."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int = 1, relu: bool = False) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(before, after, kernel, 1, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(after)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        return self.relu(self.bn(self.conv(x)))


class ReceptiveField(nn.Module):
    """Three branches of growing dilation, joined and added to their input (Liu et al., 2017, arXiv:1711.07767)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 8
        self.branch0 = nn.Sequential(Basic(channels, few, 1), Basic(few, 16, 3, relu=True), Basic(16, 16, 3, 2))
        self.branch1 = nn.Sequential(Basic(channels, few, 1), Basic(few, 16, 3, relu=True), Basic(16, 16, 3, 3))
        self.branch2 = nn.Sequential(
            Basic(channels, few, 1), Basic(few, 12, 3, relu=True), Basic(12, 16, 3, relu=True), Basic(16, 16, 3, 5)
        )
        self.ConvLinear = Basic(48, channels, 1)
        self.shortcut = Basic(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Channels and sizes stay."""
        joined = self.ConvLinear(torch.cat([self.branch0(x), self.branch1(x), self.branch2(x)], 1))
        return torch.relu(joined + self.shortcut(x))


class UltraFace(nn.Module):
    """Scores after softmax and boxes as offsets to their priors."""

    def __init__(self) -> None:
        super().__init__()
        self.base_net = nn.Sequential(
            _plain(3, 16, 2), _depthwise(16, 32, 1), _depthwise(32, 32, 2), _depthwise(32, 32, 1), _depthwise(32, 64, 2),
            _depthwise(64, 64, 1), _depthwise(64, 64, 1), ReceptiveField(64), _depthwise(64, 128, 2),
            _depthwise(128, 128, 1), _depthwise(128, 128, 1), _depthwise(128, 256, 2), _depthwise(256, 256, 1),
        )  # fmt: skip
        extra = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), _separable(64, 256, 2), nn.ReLU())
        self.extras = nn.ModuleList([extra])
        self.classification_headers = self._heads(CLASSES)
        self.regression_headers = self._heads(4)

    @staticmethod
    def _heads(numbers: int) -> nn.ModuleList:
        small = [_separable(channels, boxes * numbers) for channels, boxes in HEADS[:-1]]
        channels, boxes = HEADS[-1]
        return nn.ModuleList([*small, nn.Conv2d(channels, boxes * numbers, 3, padding=1)])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, 240, 320) -> scores (N, 4420, 2) and boxes (N, 4420, 4)."""
        maps = [self.base_net[:8](image)]
        maps.append(self.base_net[8:11](maps[-1]))
        maps.append(self.base_net[11:](maps[-1]))
        maps.append(self.extras[0](maps[-1]))
        scores = self._flat(maps, self.classification_headers, CLASSES)
        return {"scores": torch.softmax(scores, 2), "boxes": self._flat(maps, self.regression_headers, 4)}

    @staticmethod
    def _flat(maps: list[Tensor], heads: nn.ModuleList, numbers: int) -> Tensor:
        found = [head(item).permute(0, 2, 3, 1) for item, head in zip(maps, heads, strict=True)]
        return torch.cat([item.reshape(item.shape[0], -1, numbers) for item in found], 1)


def rfb320() -> tuple[nn.Module, Tensor]:
    """One image of 320 x 240."""
    return UltraFace(), torch.rand(1, 3, 240, 320)
