"""Convert a model to TFLite, run it in LiteRT, and compare with another runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.targets.base import Prepared
from bessemer.targets.tflite.options import TFLiteOptions
from bessemer.targets.tflite.target import TARGET
from bessemer.verify.compare import from_artifact, to_artifact

RNG = np.random.default_rng(7)


def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A border tensor."""
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int, scale: float = 1.0) -> onnx.TensorProto:
    """A random float constant."""
    return numpy_helper.from_array((RNG.normal(size=shape) * scale).astype(np.float32), name)


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Sequence[Any] = ()
) -> Path:
    """Write a checked opset-21 model."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def prepare(path: Path, **options: Any) -> Prepared:
    """The lowered model."""
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    return TARGET.prepare(model, TFLiteOptions(**options))


def execute(prepared: Prepared, folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs in the original's names and axis order."""
    runner = TARGET.runner(TARGET.write(prepared, folder, "model").path)
    answer = runner.run(to_artifact(inputs, prepared.inputs))
    return {name: from_artifact(answer[border.name], border) for name, border in prepared.outputs.items()}


def reference(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """What ONNX Runtime says."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def agree(
    path: Path, folder: Path, inputs: dict[str, Any], tolerance: float = 1e-4, **options: Any
) -> Prepared:
    """Assert that LiteRT and ONNX Runtime agree; returns what was prepared."""
    prepared = prepare(path, **options)
    got, want = execute(prepared, folder, inputs), reference(path, inputs)
    for name, array in want.items():
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, rtol=tolerance, atol=tolerance, err_msg=name)
    return prepared


def random(*shape: int) -> Any:
    """Float32 noise."""
    return RNG.normal(size=shape).astype(np.float32)
