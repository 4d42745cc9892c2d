"""ONNX files that multiply, loop, or reach for other files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bessemer.ir.errors import Declined, UnreadableInput, UsageError
from bessemer.sources.base import OpenOptions
from bessemer.sources.onnx import SOURCE
from bessemer.sources.sniff import identify
from bessemer.sources.validity import blaming

FLOAT = TensorProto.FLOAT


def info(name: str, shape: list[int], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def saved(
    path: Path, nodes: list[Any], held: list[Any] | None = None, functions: list[Any] | None = None
) -> Path:
    graph = helper.make_graph(nodes, "g", [info("x", [2])], [info("y", [2])], held or [])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions or [], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path) -> str:
    """The message of the refusal, which must come within five seconds."""
    start = time.perf_counter()
    with pytest.raises(UnreadableInput) as error:
        SOURCE.open(path, OpenOptions())
    assert time.perf_counter() - start < 5
    assert path.name in str(error.value)
    return str(error.value)


def relu(source: str, result: str) -> Any:
    return helper.make_node("Relu", [source], [result])


def external(name: str, dims: list[int], location: str, **entries: int) -> Any:
    tensor = TensorProto(name=name, data_type=FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_functions_that_double_at_each_level(tmp_path: Path) -> None:
    """Forty functions of two calls each: 2**40 nodes once inlined."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    functions = []
    for level in range(40):
        op, domain = ("Relu", "") if level == 39 else (f"f{level + 1}", "f")
        body = [
            helper.make_node(op, ["a"], ["b"], domain=domain),
            helper.make_node(op, ["b"], ["c"], domain=domain),
        ]
        functions.append(helper.make_function("f", f"f{level}", ["a"], ["c"], body, imports))
    call = [helper.make_node("f0", ["x"], ["y"], domain="f")]
    assert "expand to" in refused(saved(tmp_path / "m.onnx", call, functions=functions))


def test_a_long_chain_written_backwards_is_read_quickly(tmp_path: Path) -> None:
    nodes = [relu(f"v{i}", f"v{i + 1}") for i in range(20000)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    path = saved(tmp_path / "m.onnx", nodes[::-1])
    start = time.process_time()
    model = SOURCE.open(path, OpenOptions())
    assert time.process_time() - start < 5
    assert next(iter(model.graph.graph)).inputs[0].name == "x"


def test_cycle_through_what_a_subgraph_captures(tmp_path: Path) -> None:
    inner = helper.make_graph([relu("late", "out")], "branch", [], [info("out", [2])])
    nodes = [
        helper.make_node("If", ["c"], ["early"], then_branch=inner, else_branch=inner),
        relu("early", "late"),
        relu("late", "y"),
    ]
    held = [numpy_helper.from_array(np.array(True), "c")]
    assert "cycle" in refused(saved(tmp_path / "m.onnx", nodes, held))


def test_a_subgraph_that_uses_an_undefined_name(tmp_path: Path) -> None:
    inner = helper.make_graph([relu("ghost", "out")], "branch", [], [info("out", [2])])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    held = [numpy_helper.from_array(np.array(True), "c")]
    assert "'ghost' is never made" in refused(saved(tmp_path / "m.onnx", nodes, held))


def test_hard_link_to_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    os.link(tmp_path / "secret", folder / "w.bin")
    path = saved(
        folder / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [external("w", [2], "w.bin")]
    )
    assert "hard links" in refused(path)


def test_many_tensors_that_share_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 4096)
    held = [external(f"w{i}", [1024], "w.bin", offset=0, length=4096) for i in range(64)]
    assert "share files" in refused(saved(tmp_path / "m.onnx", [relu("x", "y")], held))


@pytest.mark.parametrize(("offset", "length"), [(-8, 8), (4, 8), (0, 1 << 62), (1 << 62, 8), (0, 4)])
def test_offsets_outside_the_file(tmp_path: Path, offset: int, length: int) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    held = [external("w", [2], "w.bin", offset=offset, length=length)]
    refused(saved(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], held))


def test_sparse_tensor_with_a_huge_dense_shape(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [numpy_helper.from_array(np.ones(2), "d")],
    )
    model = onnx.load(path)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))
    path.write_bytes(model.SerializeToString())
    assert "sparse" in refused(path)


def test_an_input_that_nothing_could_feed(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [relu("x", "y")])
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 50
    path.write_bytes(model.SerializeToString())
    assert "input 'x'" in refused(path)


def test_map_values_are_declined_by_name(tmp_path: Path) -> None:
    node = helper.make_node(
        "ZipMap", ["x"], ["y"], name="zip", domain="ai.onnx.ml", classlabels_int64s=[0, 1]
    )
    path = saved(tmp_path / "m.onnx", [node])
    model = onnx.load(path)
    kind = model.graph.output[0].type
    kind.sequence_type.elem_type.map_type.key_type = TensorProto.INT64
    kind.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = FLOAT
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Declined) as refusal:
        SOURCE.open(path, OpenOptions())
    assert refusal.value.blockers[0].node == "zip"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b'{"a": 1}', "text"),
        (b"\x7fELF" + b"\0" * 99, "ELF"),
        (b"\0" * 4096, "zeros"),
    ],
)
def test_other_kinds_of_file_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(UnreadableInput, match=said):
        identify(path)


def test_no_file_and_no_permission(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        identify(tmp_path / "absent.onnx")
    with pytest.raises(UnreadableInput, match="directory"):
        identify(tmp_path)


@pytest.mark.parametrize("place", ["node", "input", "attribute", "producer", "metadata"])
def test_text_that_is_not_utf8(tmp_path: Path, place: str) -> None:
    path = saved(tmp_path / "m.onnx", [relu("x", "y")])
    model = onnx.load(path)
    if place == "node":
        model.graph.node[0].name = "MARK"
    elif place == "input":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "MARK"
    elif place == "attribute":
        model.graph.node[0].attribute.append(helper.make_attribute("mode", "MARK"))
    elif place == "producer":
        model.producer_name = "MARK"
    else:
        model.metadata_props.add(key="MARK", value="v")
    path.write_bytes(model.SerializeToString().replace(b"MARK", b"M\xffRK"))
    assert "UTF-8" in refused(path)


def test_typed_fields_hold_exactly_what_dims_need(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])])
    for held in (3, 5):
        model = onnx.load(path)
        del model.graph.initializer[:]
        tensor = model.graph.initializer.add(name="w", data_type=FLOAT, dims=[4])
        tensor.float_data.extend([1.0] * held)
        broken = tmp_path / f"{held}.onnx"
        broken.write_bytes(model.SerializeToString())
        assert "tensor 'w'" in refused(broken)


def test_a_stumble_over_an_invalid_model_is_the_models_fault(tmp_path: Path) -> None:
    """Floats as indices: the checker says so, whatever a pass makes of it."""
    path = saved(tmp_path / "m.onnx", [helper.make_node("Gather", ["x", "x"], ["y"])])
    with pytest.raises(UnreadableInput, match="not a valid model"), blaming(path):
        raise IndexError("a pass that relied on integers")


def test_a_stumble_over_a_valid_model_is_ours(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [relu("x", "y")])
    with pytest.raises(IndexError), blaming(path):
        raise IndexError("a pass with a mistake in it")
