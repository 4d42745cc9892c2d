"""BlazeFace, front camera (Bazarevsky et al., 2019, arXiv:1907.05047): 16 and 8 wide maps, 896 anchors.

    bessemer convert blazeface.pth --factory examples/architectures/blazeface.py:blazeface --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = ((24, 24, 1), (24, 28, 1), (28, 32, 2), (32, 36, 1), (36, 42, 1), (42, 48, 2), (48, 56, 1), (56, 64, 1),
          (64, 72, 1), (72, 80, 1), (80, 88, 1))  # fmt: skip
"""(channels in, channels out, stride)."""


class Block(nn.Module):
    """Depthwise 3x3 and 1x1 beside their input; more channels are zeros, a stride of 2 takes the largest of four."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(before, before, 3, stride, 0 if stride == 2 else 1, groups=before)
        self.convs = nn.Sequential(depthwise, nn.Conv2d(before, after, 1))
        self.stride, self.extra = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)."""
        y = x
        if self.stride == 2:
            y, x = functional.pad(x, (0, 2, 0, 2)), functional.max_pool2d(x, 2)
        if self.extra:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.extra))
        return torch.relu(self.convs(y) + x)


class BlazeFace(nn.Module):
    """Boxes with six points (raw) and scores (logits) of all anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone1 = nn.Sequential(nn.Conv2d(3, 24, 5, 2), nn.ReLU(), *(Block(*item) for item in WIDTHS))
        self.backbone2 = nn.Sequential(Block(88, 96, 2), *(Block(96, 96, 1) for _ in range(4)))
        self.classifier_8, self.classifier_16 = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.regressor_8, self.regressor_16 = nn.Conv2d(88, 32, 1), nn.Conv2d(96, 96, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, 128, 128) in -1 to 1 -> boxes (N, 896, 16) and scores (N, 896, 1)."""
        wide = self.backbone1(functional.pad(image, (1, 2, 1, 2)))
        small = self.backbone2(wide)
        boxes = self._joined(self.regressor_8(wide), self.regressor_16(small), 16)
        return {"boxes": boxes, "scores": self._joined(self.classifier_8(wide), self.classifier_16(small), 1)}

    @staticmethod
    def _joined(first: Tensor, second: Tensor, numbers: int) -> Tensor:
        flat = [item.permute(0, 2, 3, 1).reshape(item.shape[0], -1, numbers) for item in (first, second)]
        return torch.cat(flat, 1)


def blazeface() -> tuple[nn.Module, Tensor]:
    """One image of 128 x 128."""
    return BlazeFace(), torch.rand(1, 3, 128, 128) * 2 - 1
