"""SqueezeNet 1.1 (Iandola et al., 2016, arXiv:1602.07360, and its authors' later table), with torchvision's names.

    bessemer convert squeezenet1_1.safetensors --factory examples/architectures/squeezenet.py:squeezenet1_1 --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192), 10: (384, 48, 192),
         11: (384, 64, 256), 12: (512, 64, 256)}  # fmt: skip
"""Place in the chain -> (channels in, squeezed, of each half out)."""


class Fire(nn.Module):
    """1x1 convolution to few channels, then 1x1 and 3x3 beside each other."""

    def __init__(self, before: int, squeezed: int, half: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, half, 1)
        self.expand3x3 = nn.Conv2d(squeezed, half, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, 2 * half, H, W)."""
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Version 1.1: pooling after the first convolution and after the second and the fourth fire."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        chain: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU()]
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        chain += [Fire(*FIRES[place]) if place in FIRES else pool for place in range(2, 13)]
        self.features = nn.Sequential(*chain)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 224, 224), ImageNet's mean and deviation -> (N, classes) logits."""
        return torch.flatten(self.classifier(self.features(image)), 1)


def squeezenet1_1() -> tuple[nn.Module, Tensor, dict[str, object]]:
    """Any batch."""
    return SqueezeNet(), torch.rand(2, 3, 224, 224), {"image": {0: torch.export.Dim("batch")}}
