"""torch's quantized modules: eager mode and FX graphs become encodings, and answer within a step of torch's own kernels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
quantization = pytest.importorskip("torch.ao.quantization")
pytest.importorskip("onnxruntime")

from bessemer.ir.encoding import encoding_of  # noqa: E402
from bessemer.ir.errors import Declined  # noqa: E402
from bessemer.ir.model import Origin  # noqa: E402
from bessemer.opening import normalise  # noqa: E402
from bessemer.request import ConvertOptions  # noqa: E402
from bessemer.sources.torch.examples import from_given  # noqa: E402
from bessemer.sources.torch.export import module_model  # noqa: E402
from bessemer.targets.registry import find, validate  # noqa: E402

ENGINE = next((name for name in ("fbgemm", "x86", "qnnpack") if name in torch.backends.quantized.supported_engines), "")
pytestmark = pytest.mark.skipif(not ENGINE, reason="this torch has no quantized kernels")


class Eager(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Stubs, a fused convolution, a depthwise one, a sum, pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.first, self.norm, self.relu = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
        self.second, self.swish = torch.nn.Conv2d(8, 8, 3, 2, 1, groups=8), torch.nn.Hardswish()
        self.sum, self.pool = torch.ao.nn.quantized.FloatFunctional(), torch.nn.AdaptiveAvgPool2d(1)
        self.small, self.head = torch.nn.MaxPool2d(2), torch.nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.norm(self.first(self.quant(x))))
        y = self.sum.add(self.swish(self.second(x)), self.small(x))
        return self.dequant(self.head(self.pool(y).flatten(1)))


class Traced(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Functions between the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 1)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.first(x)))
        y = torch.relu(self.second(x) + x)
        return self.head(torch.cat([y * 0.5, x], 1)[:, :8].mean((2, 3)))


def trained(kind: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    torch.backends.quantized.engine = ENGINE
    example = torch.randn(2, 3, 12, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "eager":
            module = Eager().eval()
            module.qconfig = quantization.get_default_qconfig(ENGINE)
            fused = quantization.fuse_modules(module, [["first", "norm", "relu"]])
            seen = quantization.prepare(fused)
            seen(example)
            return quantization.convert(seen), example
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        seen = prepare_fx(Traced().eval(), quantization.get_default_qconfig_mapping(ENGINE), (example,))
        seen(example)
        return convert_fx(seen), example


@pytest.mark.parametrize("kind", ["eager", "fx"])
def test_quantized_modules_become_encodings(kind: str, tmp_path: Path) -> None:
    module, example = trained(kind)
    model = normalise(module_model(module, from_given(example), Origin("torch", tmp_path / "q.py")), ConvertOptions()).model
    convolutions = [node for node in model.graph.graph if node.op_type == "Conv"]
    assert len(convolutions) == 2
    for node in convolutions:
        weight = encoding_of(node.inputs[1])
        assert weight is not None
        assert weight.dtype == "INT8"
    implementation = find("ort").load()
    prepared = implementation.prepare(model, validate("ort", implementation, {}))
    assert prepared.operators["QLinearConv"] == 2
    assert prepared.operators["com.microsoft.QGemm"] == 1
    runner = find("ort").runner(implementation.write(prepared, tmp_path, "q").path)
    with torch.no_grad():
        wanted = module(example).numpy()
    (found,) = runner.run({"x": example.numpy()}).values()
    step = float(module.head.scale)
    assert np.abs(found - wanted).max() <= 2.01 * step
    assert len(np.unique(np.round(wanted / step))) > 4


def test_dynamic_quantization_is_declined_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(4, 4)), {torch.nn.Linear})
    with pytest.raises(Declined, match="dynamic Linear '0'"):
        module_model(module, from_given(torch.randn(1, 4)), Origin("torch", Path("q.py")))


class Pairs(torch.nn.Module):  # type: ignore[misc, name-defined]
    """What torch's PT2E quantizers write, with codes of fewer values than their type has."""

    def forward(self, x: Any) -> Any:
        operators = torch.ops.quantized_decomposed
        codes = operators.quantize_per_tensor.default(x, 0.05, 3, 0, 127, torch.uint8)
        return operators.dequantize_per_tensor.default(codes, 0.05, 3, 0, 127, torch.uint8)


def test_a_narrow_range_is_kept(tmp_path: Path) -> None:
    __import__("torch.ao.quantization.fx._decomposed")
    example = torch.linspace(-2, 14, 400)
    model = normalise(module_model(Pairs(), from_given(example), Origin("torch", tmp_path / "q.py")), ConvertOptions()).model
    implementation = find("ort").load()
    prepared = implementation.prepare(model, validate("ort", implementation, {}))
    runner = find("ort").runner(implementation.write(prepared, tmp_path, "q").path)
    (found,) = runner.run({"x": example.numpy()}).values()
    wanted = Pairs()(example).numpy()
    assert wanted.max() == pytest.approx(124 * 0.05)
    assert np.abs(found - wanted).max() <= 0.0501
    assert np.mean(found == wanted) > 0.98
