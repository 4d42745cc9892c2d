"""Options, blockers, quantization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from tests.conftest import asset
from tests.unit.targets.tflite.conversion import agree, execute, prepare, random, save, tensor, weight

from bessemer.ir.errors import Declined
from bessemer.targets.tflite.options import TFLiteOptions


def test_unknown_options_are_errors() -> None:
    with pytest.raises(ValidationError):
        TFLiteOptions(precison="float16")


def test_every_blocker_is_named_at_once(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("DeformConv", ["x", "w", "offset"], ["a"], name="first", kernel_shape=[1, 1]),
        node("Relu", ["a"], ["b"]),
        node("MaxPool", ["b"], ["c", "where"], name="second", kernel_shape=[1, 1]),
    ]
    inputs = [tensor("x", 1, 2, 4, 4), tensor("offset", 1, 2, 4, 4)]
    outputs = [tensor("c", 1, 2, 4, 4), tensor("where", 1, 2, 4, 4, kind=TensorProto.INT64)]
    path = save(tmp_path / "d.onnx", nodes, inputs, outputs, [weight("w", 2, 2, 1, 1)])
    with pytest.raises(Declined) as caught:
        prepare(path)
    assert {blocker.op for blocker in caught.value.blockers} == {"DeformConv", "MaxPool"}
    assert all(blocker.reason and blocker.rule for blocker in caught.value.blockers)


def test_int64_borders_change_only_when_asked(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    inputs, outputs = [tensor("x", 3, kind=TensorProto.INT64)], [tensor("y", 3, kind=TensorProto.INT64)]
    path = save(tmp_path / "i.onnx", [node], inputs, outputs)
    assert prepare(path).inputs["x"].dtype == "int64"
    narrow = agree(path, tmp_path, {"x": np.array([1, -5, 70000], np.int64)}, int64="int32")
    assert narrow.inputs["x"].dtype == "int32"
    assert any("int32" in note and "int64" in note for note in narrow.notes)


def test_half_precision_stores_half(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    path = save(
        tmp_path / "g.onnx",
        nodes,
        [tensor("x", 2, 128)],
        [tensor("y", 2, 128)],
        [weight("w", 128, 128), weight("b", 128)],
    )
    prepared = agree(path, tmp_path, {"x": random(2, 128)}, tolerance=5e-2, precision="float16")
    assert prepared.operators["DEQUANTIZE"] == 2
    assert (tmp_path / "model.tflite").stat().st_size < 128 * 128 * 2 + 4096


def quantized(name: str, low: float, high: float) -> list[TensorProto]:
    """Scale and zero point of an int8 value."""
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    return [
        numpy_helper.from_array(np.float32(scale), f"{name}_s"),
        numpy_helper.from_array(np.int8(zero), f"{name}_z"),
    ]


def test_a_quantized_convolution_runs_on_integers(tmp_path: Path) -> None:
    node = helper.make_node
    rng = np.random.default_rng(3)
    nodes = [
        node("QuantizeLinear", ["x", "x_s", "x_z"], ["xq"]),
        node("DequantizeLinear", ["xq", "x_s", "x_z"], ["xd"]),
        node("DequantizeLinear", ["wq", "w_s", "w_z"], ["wd"], axis=0),
        node("Conv", ["xd", "wd", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "y_s", "y_z"], ["yq"]),
        node("DequantizeLinear", ["yq", "y_s", "y_z"], ["y"]),
    ]
    constants = [
        *quantized("x", -2, 2),
        *quantized("y", 0, 6),
        numpy_helper.from_array(rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), "wq"),
        numpy_helper.from_array(rng.uniform(0.002, 0.004, 4).astype(np.float32), "w_s"),
        numpy_helper.from_array(np.zeros(4, np.int8), "w_z"),
        weight("b", 4),
    ]
    path = save(tmp_path / "q.onnx", nodes, [tensor("x", 1, 3, 8, 8)], [tensor("y", 1, 4, 8, 8)], constants)
    prepared = agree(path, tmp_path, {"x": random(1, 3, 8, 8)}, tolerance=6 / 255 * 1.01)
    kinds = {t.name: t.type for t in prepared.payload.subgraphs[0].tensors}
    conv = next(op for op in prepared.payload.subgraphs[0].ops if op.code == "CONV_2D")
    assert [prepared.payload.subgraphs[0].tensors[i].type for i in conv.inputs] == ["INT8", "INT8", "INT32"]
    assert "RELU" not in prepared.operators, kinds


@pytest.mark.parametrize(
    "name",
    [
        "mcu_models/mlperf_tiny/pretrainedResnet_quant.tflite",
        "mcu_models/mlperf_tiny/vww_96_int8.tflite",
        "imagenet_classifiers/mobilenet_v1_0.25_128_quant.tflite",
        "mcu_models/mlperf_tiny/model_ToyCar_quant.tflite",
    ],
)
def test_integer_tflite_comes_back_bit_identical(tmp_path: Path, name: str) -> None:
    from bessemer.runners.litert import LiteRTRunner

    path = asset(name)
    original = LiteRTRunner(path)
    rng = np.random.default_rng(1)
    inputs = {}
    for spec in original.signature.inputs:
        shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape]
        whole = np.issubdtype(np.dtype(spec.dtype), np.integer)
        info = np.iinfo(spec.dtype) if whole else None
        noise = rng.integers(info.min, info.max, shape) if info else rng.normal(size=shape)
        inputs[spec.name] = noise.astype(spec.dtype)
    want, got = original.run(inputs), execute(prepare(path), tmp_path, inputs)
    for key, array in want.items():
        np.testing.assert_array_equal(got[key], array)


@pytest.mark.parametrize("code", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_arg_extremes_rank_nan_as_onnx_runtime_does(tmp_path: Path, code: str, axis: int) -> None:
    nodes = [helper.make_node("Log", ["x"], ["a"]), helper.make_node(code, ["a"], ["y"], axis=axis)]
    shape = [4, 5, 6]
    shape[axis] = 1
    out = tensor("y", *shape, kind=TensorProto.INT64)
    agree(save(tmp_path / "m.onnx", nodes, [tensor("x", 4, 5, 6)], [out]), tmp_path, {"x": random(4, 5, 6)})


def test_doubles_beyond_float32_are_declined(tmp_path: Path) -> None:
    held = numpy_helper.from_array(np.array([1.0, 1e300, 2.0]), "w")
    nodes = [helper.make_node("Identity", ["w"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    outputs = [tensor("y", 3, kind=TensorProto.DOUBLE), tensor("z", 3)]
    path = save(tmp_path / "d.onnx", nodes, [tensor("x", 3)], outputs, [held])
    with pytest.raises(Declined) as caught:
        prepare(path)
    assert [blocker.rule for blocker in caught.value.blockers] == ["range"]


def test_slices_along_an_unknown_number_of_axes_are_declined(tmp_path: Path) -> None:
    """Bounds that claim to be scalars, as a Loop's body may declare them."""
    node = helper.make_node("Slice", ["x", "start", "stop"], ["y"])
    bounds = [tensor(name, kind=TensorProto.INT64) for name in ("start", "stop")]
    path = save(tmp_path / "s.onnx", [node], [tensor("x", 4, 4), *bounds], [tensor("y", 4, 4)])
    with pytest.raises(Declined) as caught:
        prepare(path)
    assert caught.value.blockers[0].rule == "dynamic-argument"
