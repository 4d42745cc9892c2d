"""Q4_0 and Q8_0 blocks are ONNX's blocked integers: the same values, and operators that take them as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.encoding import weight_of
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.sources.base import OpenOptions
from bessemer.sources.decoder.blocks import StoredBlocks
from bessemer.targets.onnx.target import TARGET, OnnxOptions
from bessemer.targets.ort.target import TARGET as ORT
from bessemer.targets.ort.target import OrtOptions


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_the_integers_stand_for_what_ggml_means(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    weights = np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32)
    data = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[kind])
    tensor = Lazy("w", weights.shape, kind, data.shape[1], lambda start, stop: data[start:stop])
    held = StoredBlocks(tensor)
    assert held.integers.shape == held.tensor.shape.numpy() == (96, 5)
    assert held.encoding.scale.shape == (3, 5)
    wanted = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(held.tensor.numpy().T, wanted)


@pytest.mark.parametrize(("kind", "integers"), [("q8_0", "INT8"), ("q4_0", "UINT4")])
def test_blocks_reach_the_artifact_without_rounding(
    kind: str, integers: str, real_asset: Callable[[str], Path], tmp_path: Path
) -> None:
    model = open_model(real_asset(f"llm/stories260K/stories260K-{kind}.gguf"), OpenOptions())
    normalise(model, ConvertOptions())
    held = [weight for value in model.graph.graph.initializers.values() if (weight := weight_of(value)) is not None]
    assert len(held) == 30 and {weight.encoding.dtype for weight in held} == {integers}

    def prepared(options: OnnxOptions | OrtOptions) -> dict[str, int]:
        target = ORT if isinstance(options, OrtOptions) else TARGET
        return target.prepare(Model(model.graph.clone(), model.origin), options).operators  # type: ignore[arg-type]

    assert prepared(OnnxOptions())["DequantizeLinear"] == 30
    assert prepared(OrtOptions())["com.microsoft.MatMulNBits"] == 30
    assert "DequantizeLinear" not in prepared(OnnxOptions(weights="float32"))
    assert "DequantizeLinear" not in prepared(OnnxOptions(weights="float32", opset=17))
