"""`onnx` and `ort` artifacts against the original in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bessemer.ir.errors import Declined
from bessemer.ir.model import Model
from bessemer.passes.base import run_passes
from bessemer.passes.standard import standard_passes
from bessemer.runners.onnxruntime import OrtRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.onnx import SOURCE
from bessemer.targets.base import Artifact, Prepared
from bessemer.targets.registry import find, validate
from bessemer.verify.compare import from_artifact, to_artifact

RNG = np.random.default_rng(7)


def weights(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32) * 0.1


def cnn(path: Path, opset: int = 17) -> Path:
    """Conv, ReLU, pool, Gemm, Softmax."""
    held = {"w": weights(8, 3, 3, 3), "b": weights(8), "g": weights(8, 5), "s": np.array([0, -1], np.int64)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Reshape", ["p", "s"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "g"], ["m"], name="dense"),
        helper.make_node("Softmax", ["m"], ["y"], name="soft", axis=-1),
    ]
    return save(path, nodes, held, [("x", [1, 3, 8, 8])], [("y", [1, 5])], opset)


def save(
    path: Path,
    nodes: Any,
    held: dict[str, Any],
    inputs: Any,
    outputs: Any,
    opset: int = 21,
    kind: int = TensorProto.FLOAT,
) -> Path:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info(name, kind, shape) for name, shape in inputs],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def opened(path: Path) -> Model:
    model = SOURCE.open(path, OpenOptions())
    run_passes(model.graph, standard_passes({}, 2))
    return model


def converted(path: Path, name: str, out: Path, **options: Any) -> tuple[Prepared, Artifact]:
    target = find(name).load()
    prepared = target.prepare(opened(path), validate(name, target, options))
    return prepared, target.write(prepared, out, "made")


def outputs_of(prepared: Prepared, artifact: Artifact, fed: dict[str, Any]) -> dict[str, Any]:
    runner = find(artifact.target).load().runner(artifact.path)
    answer = runner.run(to_artifact(fed, prepared.inputs))
    return {name: from_artifact(answer[border.name], border) for name, border in prepared.outputs.items()}


def fed_to(path: Path) -> dict[str, Any]:
    specs = OrtRunner(path).signature.inputs
    return {
        spec.name: RNG.standard_normal([int(d or 1) for d in spec.shape]).astype(spec.dtype) for spec in specs
    }


@pytest.mark.parametrize("name", ["onnx", "ort"])
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-6),
        ({"precision": "float16"}, 5e-3),
        ({"precision": "float16", "keep_io_types": False}, 5e-3),
        ({"precision": "float16", "keep": ("conv", "den*")}, 5e-3),
        ({"io": "nhwc"}, 1e-6),
        ({"external_data": "always"}, 1e-6),
    ],
)
def test_outputs_are_the_originals(
    tmp_path: Path, name: str, options: dict[str, Any], tolerance: float
) -> None:
    path = cnn(tmp_path / "cnn.onnx")
    fed = fed_to(path)
    want = OrtRunner(path).run(fed)
    prepared, artifact = converted(path, name, tmp_path, **options)
    got = outputs_of(prepared, artifact, fed)
    np.testing.assert_allclose(np.asarray(got["y"], np.float32), want["y"], atol=tolerance, rtol=tolerance)
    assert all(file.exists() for file in artifact.files)


def test_float16_leaves_no_pair_of_casts_and_keeps_what_was_asked(tmp_path: Path) -> None:
    path = cnn(tmp_path / "cnn.onnx")
    _, artifact = converted(path, "onnx", tmp_path, precision="float16", keep=("dense",))
    graph = onnx.load(artifact.path).graph
    casts = [node for node in graph.node if node.op_type == "Cast"]
    made = {node.output[0] for node in casts}
    assert not [node for node in casts if node.input[0] in made]
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    dense = next(node for node in graph.node if node.name == "dense")
    conv = next(node for node in graph.node if node.op_type == "Conv")
    assert kinds[dense.input[1]] == TensorProto.FLOAT
    assert kinds[conv.input[1]] == TensorProto.FLOAT16


def test_a_constant_beyond_float16_keeps_its_node_in_float32(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "big"], ["t"]), helper.make_node("Sub", ["t", "big"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"big": np.array([1e6], np.float32)}, [("x", [4])], [("y", [4])])
    prepared, artifact = converted(path, "onnx", tmp_path, precision="float16")
    assert any("beyond the range" in note for note in prepared.notes)
    fed = fed_to(path)
    np.testing.assert_allclose(outputs_of(prepared, artifact, fed)["y"], fed["x"], atol=0.1)


def test_nhwc_border_is_stated_and_moves_back(tmp_path: Path) -> None:
    prepared, artifact = converted(cnn(tmp_path / "cnn.onnx"), "onnx", tmp_path, io="nhwc")
    assert prepared.inputs["x"].perm == (0, 2, 3, 1)
    shape = [d.dim_value for d in onnx.load(artifact.path).graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 8, 8, 3]
    back = converted(artifact.path, "onnx", tmp_path / "..", io="nchw")[0]
    assert back.inputs["x"].perm == (0, 3, 1, 2)
    assert "Transpose" not in back.operators


def test_artifacts_are_byte_identical(tmp_path: Path) -> None:
    path = cnn(tmp_path / "cnn.onnx")
    both = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        both.append([converted(path, name, folder)[1].path.read_bytes() for name in ("onnx", "ort")])
    assert both[0] == both[1]


def test_ort_format_runs(tmp_path: Path) -> None:
    path = cnn(tmp_path / "cnn.onnx")
    prepared, artifact = converted(path, "ort", tmp_path, format="ort", level="all")
    assert artifact.path.suffix == ".ort"
    assert artifact.path.read_bytes()[4:8] == b"ORTM"
    fed = fed_to(path)
    want = OrtRunner(path).run(fed)["y"]
    np.testing.assert_allclose(outputs_of(prepared, artifact, fed)["y"], want, atol=1e-5)


def test_ort_names_every_node_without_a_kernel_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Frobnicate", ["a"], ["b"], name="first", domain="com.example"),
        helper.make_node("Relu", ["b"], ["c"], name="also_fine"),
        helper.make_node("Wobble", ["c"], ["y"], name="second", domain="com.example"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {}, [("x", [4])], [("y", [4])])
    model = onnx.load(path)
    model.graph.value_info.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "abc")
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    with pytest.raises(Declined) as refusal:
        converted(path, "ort", tmp_path)
    assert [blocker.node for blocker in refusal.value.blockers] == ["first", "second"]


def test_nodes_of_no_onnx_operator_are_blockers(tmp_path: Path) -> None:
    nodes = [helper.make_node("Thing", ["x"], ["y"], name="thing", domain="bessemer")]
    path = save(tmp_path / "m.onnx", nodes, {}, [("x", [4])], [("y", [4])])
    with pytest.raises(Declined) as refusal:
        converted(path, "onnx", tmp_path)
    assert refusal.value.blockers[0].node == "thing"
