"""What the ONNX source keeps: everything, and weights stay on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.sources.base import OpenOptions
from bessemer.sources.onnx import SOURCE


def written(path: Path, nodes: list[Any], held: list[Any], **more: Any) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        held,
    )
    imports = [helper.make_opsetid("", 21), *more.pop("imports", [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10, **more), path)
    return path


def test_names_order_and_symbols_stay(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [])
    signature = SOURCE.open(path, OpenOptions()).signature
    assert [str(spec) for spec in signature.inputs] == ["x: float32[n, 4]"]


def test_external_weights_are_mapped_not_read(tmp_path: Path) -> None:
    array = np.arange(16, dtype=np.float32).reshape(4, 4)
    path = written(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [numpy_helper.from_array(array, "w")],
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    tensor = SOURCE.open(path, OpenOptions()).graph.graph.initializers["w"].const_value
    assert isinstance(tensor, onnx_ir.ExternalTensor)
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_domain_without_import_is_given_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft", transB=1)]
    graph = SOURCE.open(written(tmp_path / "m.onnx", nodes, []), OpenOptions()).graph.graph
    assert graph.opset_imports["com.microsoft"] == 1


def test_functions_stay_functions_until_normalised(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("f", "Act", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    nodes = [helper.make_node("Act", ["x"], ["y"], domain="f")]
    path = written(
        tmp_path / "m.onnx", nodes, [], functions=[function], imports=[helper.make_opsetid("f", 1)]
    )
    assert len(SOURCE.open(path, OpenOptions()).graph.functions) == 1


BIG = """
import sys
from pathlib import Path
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.targets.registry import find, validate
folder = Path(sys.argv[1])
options = ConvertOptions()
model = normalise(open_model(folder / "m.onnx", options.opening), options).model
target = find("onnx").load()
artifact = target.write(target.prepare(model, validate("onnx", target, {"opset": 21})), folder, "out")
assert len(artifact.files) == 2
# Not ru_maxrss, which counts what the process was forked from.
print(1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_more_than_2_gb_under_1_gb_of_memory(tmp_path: Path) -> None:
    """Sparse files: the weights are holes, yet every byte of them is copied."""
    side, count = 9216, 7
    each = side * side * 4
    held, nodes, last = [], [], "x"
    for index in range(count):
        tensor = TensorProto(
            name=f"w{index}",
            data_type=TensorProto.FLOAT,
            dims=[side, side],
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in {"location": "w.bin", "offset": index * each, "length": each}.items():
            tensor.external_data.add(key=key, value=str(value))
        held.append(tensor)
        nodes.append(
            helper.make_node("MatMul", [last, f"w{index}"], [f"h{index}" if index < count - 1 else "y"])
        )
        last = f"h{index}"
    (tmp_path / "w.bin").touch()
    os.truncate(tmp_path / "w.bin", each * count)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, side])],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 1_000_000_000
    assert (tmp_path / "out.onnx.data").stat().st_size >= each * count > 2**31
    for file in tmp_path.iterdir():
        file.unlink()


def test_sparse_constants_become_dense_and_compute_the_same(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([1, 7], np.int64), "i")
    path = written(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [])
    proto = onnx.load(path)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 2]))
    onnx.save(proto, path)
    model = SOURCE.open(path, OpenOptions())
    held = model.graph.graph.initializers["w"].const_value
    assert held is not None and model.notes
    np.testing.assert_array_equal(held.numpy(), [[0, 2], [0, 0], [0, 0], [0, 3]])


def test_a_subgraph_may_shadow_an_outer_name(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["late"])],
        "branch",
        [],
        [helper.make_tensor_value_info("late", 1, None)],
    )
    nodes = [
        helper.make_node("If", ["c"], ["early"], then_branch=inner, else_branch=inner),
        helper.make_node("Relu", ["early"], ["late"]),
        helper.make_node("Relu", ["late"], ["y"]),
    ]
    path = written(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(np.array(True), "c")])
    assert len(SOURCE.open(path, OpenOptions()).graph.graph) == 3


def test_sparse_inputs_are_declined_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [])
    model = onnx.load(path)
    kind = model.graph.input[0].type
    kind.Clear()
    kind.sparse_tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
    with pytest.raises(Declined) as refusal:
        SOURCE.open(path, OpenOptions())
    assert [(blocker.rule, blocker.node) for blocker in refusal.value.blockers] == [("no-sparse-values", "x")]


def test_an_output_of_a_type_that_its_operator_never_gives_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [helper.make_node("Size", ["x"], ["y"])], [])
    with pytest.raises(UnreadableInput, match="Size gives tensor"):
        SOURCE.open(path, OpenOptions())
