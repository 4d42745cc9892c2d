"""Published weights, read without unpickling, in the architectures of examples/: beside ONNX originals, and converted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

sys.path.insert(0, str(Path(__file__).parent))

from torch_modules import Drawn, departures  # noqa: E402

from bessemer.sources.torch.export import named_outputs  # noqa: E402
from bessemer.sources.torch.factory import build  # noqa: E402
from bessemer.sources.torch.weights import fill, load  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "architectures"
MODELS = {
    "face/ultraface/version-RFB-320.pth":
        ("ultraface.py:rfb320", "face/ultraface/version-RFB-320_without_postprocessing.onnx"),
    "face/libfacedetection/yunet_n.pth": ("yunet.py:yunet_n", "face/libfacedetection/yunet_n_320_320.onnx"),
    "detection/FastestDet_coco_ap05_0.253.pth": ("fastestdet.py:fastestdet", "detection/FastestDet.onnx"),
    "face/blazeface_pytorch/blazeface.pth": ("blazeface.py:blazeface", ""),
    "torch/cifar10_resnet/resnet20-12fca82f.th": ("resnet_cifar.py:resnet20", ""),
}  # fmt: skip


def loaded(weights: Path, factory: str) -> tuple[Any, Any]:
    built = build(f"{EXAMPLES}/{factory}")
    fill(built.module, load(weights), weights)
    assert built.examples is not None
    return built.module.eval(), built.examples.args[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_weights_in_their_architecture(name: str, real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    factory, original = MODELS[name]
    module, example = loaded(real_asset(name), factory)
    if original:
        from bessemer.runners.onnxruntime import OrtRunner

        with torch.no_grad():
            answers = named_outputs(module(example), []).values()
        runner = OrtRunner(real_asset(original))
        wanted = runner.run({runner.signature.inputs[0].name: example.numpy()}).values()
        for found, reference in zip(answers, wanted, strict=True):
            assert np.allclose(found.numpy(), reference, atol=1e-4 * np.abs(reference).max())
    target = "tflite" if original else "ort"
    assert departures(Drawn(name, module, example, False), target, tmp_path) == ""


@pytest.mark.slow
def test_resnet20_is_as_accurate_as_published_here(real_asset: Callable[[str], Path]) -> None:
    """80.85 % of this set of 2,000 (torch's own number with torch.load); 81.0 % of the whole one."""
    module, _ = loaded(real_asset("torch/cifar10_resnet/resnet20-12fca82f.th"), "resnet_cifar.py:resnet20")
    data = np.load(real_asset("data/cifar10_test.npz"))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    images = ((data["images"] / np.float32(255) - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        found = torch.cat([module(part) for part in torch.from_numpy(images).split(250)]).argmax(1).numpy()
    assert np.mean(np.array(names)[found] == data["labels"]) == pytest.approx(0.8085, abs=0.001)
