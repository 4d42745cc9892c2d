"""FastestDet: ShuffleNetV2 (Ma et al., 2018, arXiv:1807.11164), one map of stride 16, decoupled heads, 80 COCO classes.

    bessemer convert weight.pth --factory examples/architectures/fastestdet.py:fastestdet --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((24, 48, 4), (48, 96, 8), (96, 192, 4))
"""(channels in, channels out, units)."""
CLASSES = 80


def _layer(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]


class Unit(nn.Module):
    """Half of the channels pass by; the first unit of a stage takes all into both branches and halves the sizes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        middle = after // 2
        inner = before if stride == 2 else before // 2
        outputs = after - inner
        self.branch_main = nn.Sequential(
            *_layer(inner, middle, 1), nn.ReLU(), *_layer(middle, middle, 3, stride, middle), *_layer(middle, outputs, 1),
            nn.ReLU(),
        )  # fmt: skip
        if stride == 2:
            self.branch_proj = nn.Sequential(*_layer(inner, inner, 3, 2, inner), *_layer(inner, inner, 1), nn.ReLU())
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)."""
        if self.stride == 2:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        count, channels, height, width = x.shape
        pairs = x.reshape(count * channels // 2, 2, height * width).permute(1, 0, 2)
        halves = pairs.reshape(2, -1, channels // 2, height, width)
        return torch.cat([halves[0], self.branch_main(halves[1])], 1)


class Backbone(nn.Module):
    """A convolution, a pooling, three stages; all three are handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*_layer(3, 24, 3, 2), nn.ReLU())
        for place, (before, after, units) in enumerate(STAGES, 2):
            chain = [Unit(before, after, 2), *(Unit(after, after, 1) for _ in range(units - 1))]
            setattr(self, f"stage{place}", nn.Sequential(*chain))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) -> maps of strides 8, 16 and 32."""
        first = self.stage2(functional.max_pool2d(self.first_conv(x), 3, 2, 1))
        second = self.stage3(first)
        return first, second, self.stage4(second)


class Narrow(nn.Module):
    """1x1 convolution, normalised, ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Sequential(*_layer(before, after, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        return self.conv1x1(x)


class Pyramid(nn.Module):
    """One, two and three depthwise 5x5 convolutions beside each other."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.Conv1x1 = Narrow(before, after)
        for count in (1, 2, 3):
            chain = [part for _ in range(count) for part in (*_layer(after, after, 5, groups=after), nn.ReLU())]
            setattr(self, f"S{count}", nn.Sequential(*chain))
        self.output = nn.Sequential(*_layer(3 * after, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        x = self.Conv1x1(x)
        joined = self.output(torch.cat([self.S1(x), self.S2(x), self.S3(x)], 1))
        return torch.relu(x + joined)


class Branch(nn.Module):
    """Depthwise 5x5, then 1x1."""

    def __init__(self, channels: int, numbers: int) -> None:
        super().__init__()
        wide, narrow = _layer(channels, channels, 5, groups=channels), _layer(channels, numbers, 1)
        self.conv5x5 = nn.Sequential(*wide, nn.ReLU(), *narrow)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, numbers, H, W)."""
        return self.conv5x5(x)


class Heads(nn.Module):
    """Objectness, box, classes; joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1x1 = Narrow(channels, channels)
        self.obj_layers, self.reg_layers, self.cls_layers = (Branch(channels, numbers) for numbers in (1, 4, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 5 + classes, H, W)."""
        x = self.conv1x1(x)
        parts = (torch.sigmoid(self.obj_layers(x)), self.reg_layers(x), torch.softmax(self.cls_layers(x), 1))
        return torch.cat(parts, 1)


class FastestDet(nn.Module):
    """The whole detector; boxes are decoded outside."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.SPP, self.detect_head = Backbone(), Pyramid(336, 96), Heads(96)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 352, 352), BGR in 0 to 1 -> (N, 85, 22, 22)."""
        first, second, third = self.backbone(image)
        enlarged = functional.interpolate(third, scale_factor=2.0)
        pooled = functional.avg_pool2d(first, 3, 2, 1)
        return self.detect_head(self.SPP(torch.cat([pooled, second, enlarged], 1)))


def fastestdet() -> tuple[nn.Module, Tensor]:
    """One image of 352 x 352."""
    return FastestDet(), torch.rand(1, 3, 352, 352)
