"""Axis order is a property of values: transposes appear only where neighbours disagree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.unit.targets.tflite.conversion import (
    agree,
    execute,
    prepare,
    random,
    reference,
    save,
    tensor,
    weight,
)


def network(path: Path, batch: int | str = 1) -> Path:
    """Conv, bias, Relu, pooling, a residual branch, a classifier."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1], kernel_shape=[3, 3], group=8),
        node("Add", ["c2", "p1"], ["s"]),
        node("Mul", ["s", "gain"], ["m"]),
        node("GlobalAveragePool", ["m"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    constants = [weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("w2", 8, 1, 3, 3), weight("gain", 8, 1, 1)]
    constants += [weight("w3", 10, 8), weight("b3", 10)]
    return save(path, nodes, [tensor("x", batch, 3, 16, 16)], [tensor("y", batch, 10)], constants)


def test_a_cnn_has_one_transpose_and_none_with_nhwc_input(tmp_path: Path) -> None:
    path = network(tmp_path / "cnn.onnx")
    original = agree(path, tmp_path, {"x": random(1, 3, 16, 16)})
    turned = agree(path, tmp_path, {"x": random(1, 3, 16, 16)}, io="nhwc")
    assert original.operators["TRANSPOSE"] == 1
    assert "TRANSPOSE" not in turned.operators
    assert turned.inputs["x"].perm == (0, 2, 3, 1)
    assert any("channels last" in note for note in turned.notes)
    assert original.operators["DEPTHWISE_CONV_2D"] == 1
    assert "RELU" not in original.operators


def test_dynamic_batch_is_not_baked_in(tmp_path: Path) -> None:
    path = network(tmp_path / "cnn.onnx", batch="n")
    prepared = prepare(path)
    for batch in (1, 5):
        inputs = {"x": random(batch, 3, 16, 16)}
        got = execute(prepared, tmp_path, inputs)["y"]
        np.testing.assert_allclose(got, reference(path, inputs)["y"], rtol=1e-4, atol=1e-4)


def test_constant_transposes_emit_nothing_until_a_reshape_asks(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        node("Relu", ["a"], ["b"]),
        node("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2]),
    ]
    path = save(tmp_path / "t.onnx", nodes, [tensor("x", 2, 3, 4, 5)], [tensor("y", 2, 3, 4, 5)])
    assert agree(path, tmp_path, {"x": random(2, 3, 4, 5)}).operators == {"RELU": 1}


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [tensor("x", 4, 64)],
        [tensor("y", 4, 64)],
        [weight("w", 64, 64, scale=0.1)],
    )
    prepared = agree(path, tmp_path, {"x": random(4, 64)})
    held = [t for t in prepared.payload.subgraphs[0].tensors if t.data is not None and t.shape == (64, 64)]
    assert len(held) == 1
    half = prepare(path, precision="float16")
    assert half.operators["DEQUANTIZE"] == 1


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (2, 1, 0, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 9])
def test_conv_padding(tmp_path: Path, pads: tuple[int, ...], stride: int, size: int) -> None:
    out_h = (size + pads[0] + pads[2] - 3) // stride + 1
    out_w = (size + pads[1] + pads[3] - 3) // stride + 1
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=list(pads), strides=[stride] * 2
    )
    path = save(
        tmp_path / "c.onnx", [node], [tensor("x", 1, 2, size, size)], [tensor("y", 1, 4, out_h, out_w)],
        [weight("w", 4, 2, 3, 3)],
    )  # fmt: skip
    agree(path, tmp_path, {"x": random(1, 2, size, size)})


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pooling_counts_what_onnx_counts(tmp_path: Path, op: str, ceil: int, include: int) -> None:
    extra = {"count_include_pad": include} if op == "AveragePool" else {}
    node = helper.make_node(
        op, ["x"], ["y"], kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 2], ceil_mode=ceil, **extra
    )
    path = save(tmp_path / "p.onnx", [node], [tensor("x", 1, 3, 10, 9)], [tensor("y", 1, 3, *("h", "w"))])
    agree(path, tmp_path, {"x": random(1, 3, 10, 9)})


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_and_one_dimensional_convolutions(tmp_path: Path, groups: int) -> None:
    one = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3], pads=[1, 1], group=groups)
    path = save(
        tmp_path / "one.onnx", [one], [tensor("x", 2, 4, 12)], [tensor("y", 2, 8, 12)],
        [weight("w", 8, 4 // groups, 3)],
    )  # fmt: skip
    agree(path, tmp_path, {"x": random(2, 4, 12)})


def test_the_model_is_valid_for_the_checker_of_its_own_format(tmp_path: Path) -> None:
    from bessemer.targets.tflite.target import TARGET
    from bessemer.wire.tflite import read

    path = network(tmp_path / "cnn.onnx")
    onnx.checker.check_model(str(path))
    artifact = TARGET.write(prepare(path), tmp_path, "cnn")
    records = read(artifact.path)
    assert [item.name for item in records.signature_defs[0].inputs] == ["x"]
    assert records.signature_defs[0].signature_key == "serving_default"
    assert [records.subgraphs[0].tensors[i].name for i in records.subgraphs[0].outputs] == ["y"]
