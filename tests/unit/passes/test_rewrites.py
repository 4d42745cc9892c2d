"""Rewrites keep what a model computes: every graph runs in ONNX Runtime before and after, and says less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from bessemer.opening import open_model
from bessemer.passes.batchnorm import FoldAffine, FoldBatchNorm
from bessemer.passes.fold import FoldConstants
from bessemer.passes.opset import ConvertOpset
from bessemer.passes.shapes import InferShapes
from bessemer.passes.standard import standard_passes
from bessemer.passes.stats import model_stats, operator_counts
from bessemer.runners.onnxruntime import OrtRunner
from bessemer.sources.base import OpenOptions
from bessemer.targets.graph_file import write_graph

RNG = np.random.default_rng(0)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: list[str],
    constants: dict[str, np.ndarray],
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(made)
    for value, known in zip(made.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(known)
    return made


def run(proto: onnx.ModelProto, folder: Path, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    onnx.save(proto, path)
    return OrtRunner(path).run(fed)


def same_after(proto: onnx.ModelProto, steps: list, folder: Path, fed: dict[str, np.ndarray]) -> ir.Model:
    graph = ir.from_proto(proto)
    InferShapes().run(graph)
    for step in steps:
        step.run(graph)
    graph.ir_version = 10
    before, after = run(proto, folder, fed), run(ir.to_proto(graph), folder, fed)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-5)
    return graph


def noise(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def norm(source: str, result: str, size: int) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    names = [f"{result}_{key}" for key in ("gamma", "beta", "mean", "var")]
    arrays = [noise(size), noise(size), noise(size), np.abs(noise(size)) + 0.1]
    return helper.make_node("BatchNormalization", [source, *names], [result], name=result), dict(
        zip(names, arrays, strict=True)
    )


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_joins_convolutions(op: str, group: int, bias: bool, tmp_path: Path) -> None:
    weight = noise(6, 4 // group, 3, 3) if op == "Conv" else noise(4, 6 // group, 3, 3)
    after, constants = norm("c", "y", 6)
    constants |= {"w": weight} | ({"b": noise(6)} if bias else {})
    conv = helper.make_node(op, ["x", "w", *(["b"] if bias else [])], ["c"], group=group, name="conv")
    proto = model([conv, after], {"x": [2, 4, 8, 8]}, ["y"], constants)
    graph = same_after(proto, [FoldBatchNorm()], tmp_path, {"x": noise(2, 4, 8, 8)})
    assert operator_counts(graph) == {op: 1}


@pytest.mark.parametrize("trans", [0, 1])
def test_batch_norm_joins_gemm(trans: int, tmp_path: Path) -> None:
    after, constants = norm("c", "y", 5)
    constants["w"] = noise(5, 3) if trans else noise(3, 5)
    proto = model(
        [helper.make_node("Gemm", ["x", "w"], ["c"], transB=trans), after], {"x": [2, 3]}, ["y"], constants
    )
    graph = same_after(proto, [FoldBatchNorm()], tmp_path, {"x": noise(2, 3)})
    assert operator_counts(graph) == {"Gemm": 1}


def test_batch_norm_stays_where_others_read_the_layer_and_says_so() -> None:
    after, constants = norm("c", "y", 4)
    constants["w"] = noise(4, 4, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        after,
        helper.make_node("Relu", ["c"], ["z"]),
    ]
    graph = ir.from_proto(model(nodes, {"x": [1, 4, 2, 2]}, ["y", "z"], constants))
    result = FoldBatchNorm().run(graph)
    assert (result.changed, result.declined) == (
        0,
        ("BatchNormalization 'y': others read the result of 'conv' too",),
    )


def test_per_channel_constants_join_a_convolution(tmp_path: Path) -> None:
    constants = {"w": noise(4, 3, 3, 3), "k": noise(4, 1, 1), "s": noise(1, 4, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "k"], ["m"]),
        helper.make_node("Add", ["s", "m"], ["y"]),
    ]
    proto = model(nodes, {"x": [1, 3, 6, 6]}, ["y"], constants)
    graph = same_after(proto, [FoldAffine(), FoldAffine()], tmp_path, {"x": noise(1, 3, 6, 6)})
    assert operator_counts(graph) == {"Conv": 1}


@pytest.mark.parametrize("external", [False, True])
def test_large_folded_weights_exist_only_while_they_are_read(external: bool, tmp_path: Path) -> None:
    first, constants = norm("c", "y", 512)
    second, more = norm("d", "z", 512)
    constants |= more | {"w": noise(512, 256, 1, 1), "s": noise(1, 512, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="one"), first,
        helper.make_node("Mul", ["y", "s"], ["y2"]),
        helper.make_node("Conv", ["x", "w"], ["d"], name="two"), second,
    ]  # fmt: skip
    proto = model(nodes, {"x": [1, 256, 2, 2]}, ["y2", "z"], constants)
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    fed = {"x": noise(1, 256, 2, 2)}
    onnx.save(proto, path, save_as_external_data=external, location="m.data")
    opened = open_model(path, OpenOptions())
    held = opened.graph.graph.initializers["w"].const_value
    for step in (InferShapes(), FoldBatchNorm(), FoldAffine()):
        step.run(opened.graph)
    weights = [node.inputs[1].const_value for node in opened.graph.graph]
    assert all(isinstance(weight, ir.LazyTensor) for weight in weights)
    write_graph(opened.graph, out, "auto")
    assert not external or held.raw is None  # nothing of the source stays mapped
    before, after = OrtRunner(path).run(fed), OrtRunner(out).run(fed)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("external", [False, True])
def test_large_weights_that_are_only_moved_are_not_held_twice(external: bool, tmp_path: Path) -> None:
    constants = {"w": noise(512, 256), "k": np.array([0.5], np.float32), "v": noise(512, 256, 1)}
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Mul", ["t", "k"], ["scaled"]),  # of a recipe, a recipe
        helper.make_node("Transpose", ["v"], ["u"], perm=[2, 1, 0]),
        helper.make_node("MatMul", ["x", "scaled"], ["y"]),
        helper.make_node("MatMul", ["x", "u"], ["z"]),
    ]
    proto = model(nodes, {"x": [2, 256]}, ["y", "z"], constants)
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    fed = {"x": noise(2, 256)}
    onnx.save(proto, path, save_as_external_data=external, location="m.data")
    opened = open_model(path, OpenOptions())
    held = opened.graph.graph.initializers["w"].const_value
    InferShapes().run(opened.graph)
    assert FoldConstants().run(opened.graph).changed == 3
    assert all(isinstance(node.inputs[1].const_value, ir.LazyTensor) for node in opened.graph.graph)
    write_graph(opened.graph, out, "auto")
    assert not external or held.raw is None  # nothing of the source stays mapped
    before, after = OrtRunner(path).run(fed), OrtRunner(out).run(fed)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-4)


def test_folding_is_bounded_and_says_what_it_left() -> None:
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["big"], name="grow"),
        helper.make_node("Add", ["x", "big"], ["y"]),
    ]
    constants = {"one": np.ones(1, np.float32), "shape": np.array([1024, 1024], np.int64)}
    graph = ir.from_proto(model(nodes, {"x": [1024, 1024]}, ["y"], constants))
    InferShapes().run(graph)
    result = FoldConstants(growth=0.0, slack=1 << 20).run(graph)
    assert result.changed == 0
    assert "over the bound" in result.declined[0]
    assert FoldConstants(growth=0.0, slack=1 << 24).run(graph).changed == 1


def test_shape_computations_collapse_with_a_dynamic_batch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["c"], axis=0),
        helper.make_node("Gather", ["s", "two"], ["h"], axis=0),
        helper.make_node("Mul", ["c", "h"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["minus", "n1"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {
        "one": np.array(1, np.int64), "two": np.array(2, np.int64),
        "axis": np.array([0], np.int64), "minus": np.array([-1], np.int64),
    }  # fmt: skip
    proto = model(nodes, {"x": ["N", 3, 4]}, ["y"], constants)
    graph = same_after(proto, standard_passes({}), tmp_path, {"x": noise(5, 3, 4)})
    assert operator_counts(graph) == {"Reshape": 1}


def test_a_slice_that_turns_an_axis_around_stays(tmp_path: Path) -> None:
    constants = {
        "end": np.array([-1], np.int64), "far": np.array([np.iinfo(np.int64).min], np.int64),
        "axis": np.array([1], np.int64), "back": np.array([-1], np.int64), "zero": np.array([0], np.int64),
        "whole": np.array([9], np.int64), "one": np.array([1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "end", "far", "axis", "back"], ["r"]),
        helper.make_node("Slice", ["r", "zero", "whole", "axis", "one"], ["y"]),
    ]
    proto = model(nodes, {"x": [2, 4]}, ["y"], constants)
    graph = same_after(proto, standard_passes({}), tmp_path, {"x": noise(2, 4)})
    assert operator_counts(graph) == {"Slice": 1}


def test_macs_and_parameters_are_counted_by_hand() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"]),
    ]
    constants = {"w": noise(4, 3, 3, 3), "m": noise(4 * 6 * 6, 5)}
    graph = ir.from_proto(
        onnx.shape_inference.infer_shapes(model(nodes, {"x": [1, 3, 8, 8]}, ["y"], constants))
    )
    stats = model_stats(graph)
    assert stats.macs == 4 * 6 * 6 * 27 + 144 * 5
    assert stats.parameters == 4 * 27 + 144 * 5
    assert stats.activations == 4 * (
        3 * 8 * 8 + 144
    )  # the input and the convolution's result are alive together


OLD: list[tuple[str, int, dict[str, object], list[str], dict[str, np.ndarray]]] = [
    ("Clip", 6, {"min": -0.5, "max": 0.5}, ["x"], {}),
    ("Squeeze", 11, {"axes": [0]}, ["x"], {}),
    ("Unsqueeze", 11, {"axes": [1]}, ["x"], {}),
    ("ReduceSum", 11, {"axes": [2], "keepdims": 0}, ["x"], {}),
    ("ReduceMean", 13, {"axes": [1], "keepdims": 1}, ["x"], {}),
    ("Softmax", 11, {"axis": 1}, ["x"], {}),
    ("LogSoftmax", 9, {}, ["x"], {}),
    ("Slice", 9, {"starts": [0, 1], "ends": [1, 3], "axes": [0, 2]}, ["x"], {}),
    ("Pad", 9, {"pads": [0, 0, 1, 1, 0, 0, 0, 2], "value": 3.0}, ["x"], {}),
    ("Pad", 9, {"pads": [0, 0, 1, 1, 0, 0, 0, 2], "mode": "reflect"}, ["x"], {}),
    ("Upsample", 7, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "nearest"}, ["x"], {}),
    ("Upsample", 9, {"mode": "linear"}, ["x", "k"], {"k": np.float32([1, 1, 2, 2])}),
    ("Resize", 10, {"mode": "nearest"}, ["x", "k"], {"k": np.float32([1, 1, 2, 3])}),
    ("Dropout", 10, {"ratio": 0.3}, ["x"], {}),
    ("Flatten", 7, {"axis": 2}, ["x"], {}),
]


@pytest.mark.parametrize(
    ("op", "opset", "attributes", "names", "constants"), OLD, ids=[f"{o[0]}-{o[1]}" for o in OLD]
)
def test_old_meanings_survive_the_way_to_the_canonical_opset(
    op: str,
    opset: int,
    attributes: dict[str, object],
    names: list[str],
    constants: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    proto = model(
        [helper.make_node(op, names, ["y"], **attributes)],
        {"x": [1, 3, 4, 5]},
        ["y"],
        constants,
        opset=max(opset, 7),
    )
    result = same_after(proto, [ConvertOpset(22)], tmp_path, {"x": noise(1, 3, 4, 5)})
    assert result.graph.opset_imports[""] == 22


@pytest.mark.parametrize("version", [11, 12, 13, 17])
def test_new_meanings_survive_the_way_down(version: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("Split", ["s"], ["a", "b"], axis=3, num_outputs=2),
        helper.make_node("Sub", ["a", "m"], ["d"]),
        helper.make_node("HardSwish", ["d"], ["h"]),
        helper.make_node("Squeeze", ["h", "first"], ["y"]),
        helper.make_node("Shape", ["x"], ["part"], start=1, end=3),
    ]
    constants = {"axes": np.array([3], np.int64), "first": np.array([0], np.int64)}
    proto = model(nodes, {"x": [1, 3, 4, 6]}, ["y", "b", "part"], constants, opset=18)
    same_after(proto, [ConvertOpset(version)], tmp_path, {"x": noise(1, 3, 4, 6)})


def test_what_an_opset_cannot_say_is_named() -> None:
    nodes = [helper.make_node("GridSample", ["x", "g"], ["y"], name="warp")]
    graph = ir.from_proto(model(nodes, {"x": [1, 1, 4, 4], "g": [1, 2, 2, 2]}, ["y"], {}, opset=16))
    result = ConvertOpset(13).run(graph)
    assert result.declined == ("GridSample 'warp': it came with opset 16 and has no decomposition",)
    assert graph.graph.opset_imports[""] == 16
