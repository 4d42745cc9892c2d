"""YuNet, the face detector of libfacedetection (Wu et al., 2023, Machine Intelligence Research 20): size n.

    bessemer convert yunet_n.pth --factory examples/architectures/yunet.py:yunet_n --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((16, 64), (64, 64), (64, 64), (64, 64), (64, 64))
POOLED = (0, 2, 3, 4)
HANDED_ON = (3, 4, 5)
STRIDES = (8, 16, 32)


class Unit(nn.Module):
    """1x1 convolution, then a depthwise 3x3 one; normalised with ReLU unless it is a head's last."""

    def __init__(self, before: int, after: int, last: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, groups=after)
        self.bn = nn.Identity() if last else nn.BatchNorm2d(after)
        self.relu = nn.Identity() if last else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class First(nn.Module):
    """A plain convolution of stride 2, then a unit."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = Unit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, channels, H / 2, W / 2)."""
        return self.conv2(torch.relu(self.bn1(self.conv1(x))))


class Stage(nn.Module):
    """Two units."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Unit(before, before), Unit(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        return self.conv2(self.conv1(x))


class Backbone(nn.Module):
    """Six stages; what has strides 8, 16 and 32 is handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = First(16)
        for place, (before, after) in enumerate(STAGES, 1):
            setattr(self, f"model{place}", Stage(before, after))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Three maps of 64 channels, the largest first."""
        found = []
        for place in range(len(STAGES) + 1):
            x = getattr(self, f"model{place}")(x)
            if place in HANDED_ON:
                found.append(x)
            if place in POOLED:
                x = functional.max_pool2d(x, 2)
        return found


class Neck(nn.Module):
    """From the smallest map up: each is enlarged and added to the next."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList([Unit(channels, channels) for _ in STRIDES])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """As many maps, of the same sizes."""
        maps = list(maps)
        for place in range(len(maps) - 1, 0, -1):
            maps[place] = self.lateral_convs[place](maps[place])
            maps[place - 1] = maps[place - 1] + functional.interpolate(maps[place], scale_factor=2.0, mode="nearest")
        maps[0] = self.lateral_convs[0](maps[0])
        return maps


class Head(nn.Module):
    """Class, objectness, box and five points per place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.multi_level_share_convs = nn.ModuleList([nn.Sequential(Unit(channels, channels)) for _ in STRIDES])
        for name, numbers in (("cls", 1), ("bbox", 4), ("obj", 1), ("kps", 10)):
            heads = nn.ModuleList([Unit(channels, numbers, last=True) for _ in STRIDES])
            setattr(self, f"multi_level_{name}", heads)

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """'cls_8' and so on: (N, places, numbers)."""
        maps = [share(item) for share, item in zip(self.multi_level_share_convs, maps, strict=True)]
        found = {}
        for name in ("cls", "obj", "bbox", "kps"):
            for stride, head, item in zip(STRIDES, getattr(self, f"multi_level_{name}"), maps, strict=True):
                answer = head(item).permute(0, 2, 3, 1)
                answer = answer.reshape(answer.shape[0], -1, answer.shape[3])
                found[f"{name}_{stride}"] = torch.sigmoid(answer) if name in ("cls", "obj") else answer
        return found


class YuNet(nn.Module):
    """Backbone, neck and head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.neck, self.bbox_head = Backbone(), Neck(64), Head(64)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) of bytes as they are, BGR; H and W multiples of 32."""
        return self.bbox_head(self.neck(self.backbone(image)))


def yunet_n() -> tuple[nn.Module, Tensor]:
    """One image of 320 x 320."""
    return YuNet(), torch.rand(1, 3, 320, 320) * 255
