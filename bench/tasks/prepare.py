"""Models that a task cannot take as their authors left them: prepare.py NAME FOLDER OUT, in the interpreter that it needs.

resnet20 (ours, with torch): the CIFAR-10 checkpoint as ONNX. silero (ours): the voice detector's 16 kHz half as ONNX.
keywords (one with tensorflow): MLPerf Tiny's SavedModel as float TFLite; its own TFLite file is in integers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def resnet20(folder: Path, out: Path) -> None:
    """ResNet-20 with shortcuts padded with zeros (He et al. 2016, option A), 1x3x32x32."""
    import torch

    held = torch.load(folder / "torch/cifar10_resnet/resnet20-12fca82f.th", map_location="cpu", weights_only=True)
    weights = {name.removeprefix("module."): tensor for name, tensor in held["state_dict"].items()}
    network = _resnet(torch)
    network.load_state_dict(weights)
    example = torch.zeros(1, 3, 32, 32)
    torch.onnx.export(network.eval(), (example,), str(out), input_names=["image"], dynamo=True, external_data=False)


def _resnet(torch: Any) -> Any:
    nn, relu = torch.nn, torch.nn.functional.relu

    class Block(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, wide: int, out: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
            self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
            self.stride, self.more = stride, (out - wide) // 2

        def forward(self, x: Any) -> Any:
            short = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
            return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + short)

    class Network(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
            self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
            self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
            return self.linear(x.mean((2, 3)))

    return Network()


def silero(folder: Path, out: Path) -> None:
    """The If on the sampling rate is decided: 16 kHz, frames of 64 old and 512 new samples."""
    import numpy as np
    import onnx

    model = onnx.load(folder / "audio/silero_vad/silero_vad_op18_ifless.onnx")
    kept = [value for value in model.graph.input if value.name != "sr"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(16000, np.int64), "sr"))
    for value, shape in zip(model.graph.input, ((1, 576), (2, 1, 128)), strict=True):  # copies: those in `kept` are gone
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            axis.dim_value = size
    onnx.save(model, out)


def keywords(folder: Path, out: Path) -> None:
    """DS-CNN as its training script left it."""
    import tensorflow

    source = str(folder / "mcu_models/mlperf_tiny/kws_ref_model")
    out.write_bytes(tensorflow.lite.TFLiteConverter.from_saved_model(source).convert())


MAKERS: dict[str, Callable[[Path, Path], None]] = {"resnet20": resnet20, "silero": silero, "keywords": keywords}


if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
