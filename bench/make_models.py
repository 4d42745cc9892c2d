"""The models of the races: real architectures with random weights, exported by torch.

python bench/make_models.py OUT [NAME...]      (a virtual environment with torch, transformers and onnxscript)

resnet50, vit, bert, gpt2: torch's dynamo exporter, not optimised, weights beside the graph (for optimize.py);
resnet50_static, inception_v1: one file each, for onnx2tf (convert.py). `bessemer convert resnet50_static.onnx --to
tflite` makes the large .tflite for tf2onnx.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

IMAGE = (1, 3, 224, 224)


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5."""

    def __init__(self, into: int, width: int, stride: int, down: bool) -> None:
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(into, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.down = None
        if down:
            self.down = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + (self.down(x) if self.down is not None else x))


def resnet50() -> nn.Module:
    """He et al. 2016, table 1."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    into = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(count):
            layers.append(Bottleneck(into, width, stride if index == 0 else 1, index == 0))
            into = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def _conv(into: int, out: int, size: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(into, out, size, stride, size // 2), nn.ReLU())


class Inception(nn.Module):
    """Szegedy et al. 2015, figure 2b; widths as in table 1."""

    def __init__(self, into: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.ways = nn.ModuleList([
            _conv(into, one, 1),
            nn.Sequential(_conv(into, three[0], 1), _conv(*three, 3)),
            nn.Sequential(_conv(into, five[0], 1), _conv(*five, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(into, pool, 1)),
        ])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


def inception_v1() -> nn.Module:
    """Szegedy et al. 2015, table 1."""
    norm = nn.LocalResponseNorm(5)
    stem = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), norm, _conv(64, 64, 1), _conv(64, 192, 3), norm]
    return nn.Sequential(
        *stem, nn.MaxPool2d(3, 2, 1),
        Inception(192, 64, (96, 128), (16, 32), 32), Inception(256, 128, (128, 192), (32, 96), 64),
        nn.MaxPool2d(3, 2, 1),
        Inception(480, 192, (96, 208), (16, 48), 64), Inception(512, 160, (112, 224), (24, 64), 64),
        Inception(512, 128, (128, 256), (24, 64), 64), Inception(512, 112, (144, 288), (32, 64), 64),
        Inception(528, 256, (160, 320), (32, 128), 128),
        nn.MaxPool2d(3, 2, 1),
        Inception(832, 256, (160, 320), (32, 128), 128), Inception(832, 384, (192, 384), (48, 128), 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000), nn.Softmax(-1),
    )  # fmt: skip


class Logits(nn.Module):
    """A language model's scores alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> Any:
        return self.model(ids).logits


def _text(length: int) -> torch.Tensor:
    return torch.zeros(1, length, dtype=torch.long)


def _transformer(name: str) -> tuple[nn.Module, torch.Tensor]:
    import transformers as t

    if name == "vit":
        return t.ViTModel(t.ViTConfig()), torch.randn(IMAGE)
    if name == "bert":
        return t.BertModel(t.BertConfig()), _text(128)
    return Logits(t.GPT2LMHeadModel(t.GPT2Config(use_cache=False))), _text(64)


MODELS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "resnet50": lambda: (resnet50(), torch.randn(IMAGE)),
    "vit": lambda: _transformer("vit"),
    "bert": lambda: _transformer("bert"),
    "gpt2": lambda: _transformer("gpt2"),
    "resnet50_static": lambda: (resnet50(), torch.randn(IMAGE)),
    "inception_v1": lambda: (inception_v1(), torch.randn(IMAGE)),
}
WHOLE = ("resnet50_static", "inception_v1")
"""One file, optimised by the exporter: what a user would hand to a converter."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MODELS:
        torch.manual_seed(0)
        model, example = MODELS[name]()
        program = torch.onnx.export(model.eval(), (example,), dynamo=True, optimize=name in WHOLE)
        program.save(str(arguments.out / f"{name}.onnx"), external_data=name not in WHOLE)
        print(arguments.out / f"{name}.onnx", flush=True)


if __name__ == "__main__":
    main()
