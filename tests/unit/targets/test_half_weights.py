"""Weights keep the type that they are stored in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.sources.tflite.single import Builder

from bessemer.opening import normalise, open_model
from bessemer.passes.half import fits_exactly
from bessemer.request import ConvertOptions
from bessemer.runners.litert import LiteRTRunner
from bessemer.targets.base import Prepared, Target
from bessemer.targets.onnx.target import TARGET as ONNX
from bessemer.targets.ort.target import TARGET as ORT
from bessemer.targets.tflite.target import TARGET as TFLITE
from bessemer.verify.compare import from_artifact, to_artifact

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(5)
UNITS = 40


def lite(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A convolution and a dense layer whose weights are float16."""
    build = Builder()
    x = build.input(RNG.normal(size=(1, 4, 4, 8)), "float32")
    wide = []
    for shape in ((UNITS, 1, 1, 8), (10, 16 * UNITS)):
        half = build.const(RNG.normal(size=shape), "float16")
        wide.append(build.tensor(shape))
        build.op("DEQUANTIZE", [half], [wide[-1]], table="DequantizeOptions")
    made, flat, out = build.tensor((1, 4, 4, UNITS)), build.tensor((1, 16 * UNITS)), build.tensor((1, 10))
    build.op(
        "CONV_2D", [x, wide[0], build.const(np.zeros(UNITS))], [made], table="Conv2DOptions", padding=0, stride_w=1,
        stride_h=1, dilation_w_factor=1, dilation_h_factor=1,
    )  # fmt: skip
    build.op(
        "RESHAPE", [made, build.const([1, 16 * UNITS], "int32")], [flat], table="ReshapeOptions",
        new_shape=[1, 16 * UNITS],
    )  # fmt: skip
    build.op("FULLY_CONNECTED", [flat, wide[1], -1], [out], table="FullyConnectedOptions")
    return build.save([out], folder / "m.tflite"), build.feeds


def hub(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The same as ONNX: float16 constants behind Casts."""
    shapes = {"k": (UNITS, 8, 1, 1), "w": (16 * UNITS, 10)}
    halves = [
        numpy_helper.from_array(RNG.normal(size=shape).astype(np.float16), f"{name}_half")
        for name, shape in shapes.items()
    ]
    nodes = [helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT) for name in shapes]
    nodes += [
        helper.make_node("Conv", ["x", "k"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    borders = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 8, 4, 4)), ("y", (1, 10)))
    ]
    graph = helper.make_graph(nodes, "g", borders[:1], borders[1:], halves)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path, {"x": RNG.normal(size=(1, 8, 4, 4)).astype(np.float32)}


def written(target: Target, path: Path, folder: Path, **options: Any) -> tuple[Prepared, Path]:
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    prepared = target.prepare(model, target.options(**options))
    return prepared, target.write(prepared, folder, "out").path


def original(path: Path, feeds: dict[str, Any]) -> Any:
    if path.suffix == ".tflite":
        return next(iter(LiteRTRunner(path).run(feeds).values()))
    import onnxruntime

    return onnxruntime.InferenceSession(str(path)).run(None, feeds)[0]


@pytest.mark.parametrize("source", [lite, hub])
@pytest.mark.parametrize("target", [ONNX, TFLITE])
@pytest.mark.parametrize("weights", ["stored", "float32"])
def test_the_file_does_not_double(tmp_path: Path, source: Any, target: Target, weights: str) -> None:
    path, feeds = source(tmp_path)
    prepared, file = written(target, path, tmp_path, weights=weights)
    stored = 2 * (UNITS * 8 + 10 * 16 * UNITS)
    assert file.stat().st_size > 2 * stored if weights == "float32" else file.stat().st_size < 1.6 * stored
    got = target.runner(file).run(to_artifact(feeds, prepared.inputs))
    ((border, want),) = zip(prepared.outputs.values(), [original(path, feeds)], strict=True)
    answer = from_artifact(got[border.name], border)
    np.testing.assert_allclose(answer, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_the_optimised_file_says_that_it_is_wide(tmp_path: Path) -> None:
    path, _ = hub(tmp_path)
    prepared, _ = written(ORT, path, tmp_path)
    assert any("float16" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("number", "fits"), [(0.5, True), (65504, True), (0.1, False), (7e4, False), (1e-9, False), (np.inf, True), (-0.0, True)]
)
def test_only_what_loses_nothing(number: float, fits: bool) -> None:
    import onnx_ir

    array = np.ones(100, np.float32)
    array[50] = number
    assert fits_exactly(onnx_ir.tensor(array)) is fits
    assert not fits_exactly(onnx_ir.tensor(array[:10]))


@pytest.mark.parametrize(("number", "fits"), [(0.5, True), (3e38, False), (2.0**120, True), (0.1, False), (np.inf, True)])
def test_bfloat16_has_another_reach(number: float, fits: bool) -> None:
    import onnx_ir

    array = np.ones(100, np.float32)
    array[50] = number
    assert fits_exactly(onnx_ir.tensor(array), "BFLOAT16") is fits


def test_a_float_model_is_left_alone(tmp_path: Path) -> None:
    """Even where its weights would fit."""
    build = Builder()
    x, out = build.input(np.ones((1, 8)), "float32"), build.tensor((1, 40))
    build.op("FULLY_CONNECTED", [x, build.const(np.ones((40, 8))), -1], [out], table="FullyConnectedOptions")
    for target in (ONNX, TFLITE):
        prepared, _ = written(target, build.save([out], tmp_path / "m.tflite"), tmp_path)
        assert not {"Cast", "DEQUANTIZE"} & set(prepared.operators)
