"""Shapes inside subgraphs whose constants lie outside."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from bessemer.passes.shapes import InferShapes

TEXT = """
net (float[2,3] x, bool c) => (y) {
  y = If (c) <
    then_branch = one () => (a) { a0 = Unsqueeze(x, axes)  a = Transpose<perm=[1,0,2]>(a0) },
    else_branch = two () => (b) { b = Reshape(x, sizes) }
  >
}
"""


def test_constants_of_the_outer_graph_are_seen_inside() -> None:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{TEXT}')
    constants = {"axes": np.array([0], np.int64), "sizes": np.array([2, 1, 3], np.int64)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    graph = ir.from_proto(proto)
    InferShapes().run(graph)
    (node,) = graph.graph
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    assert [str(branch.outputs[0].shape) for branch in branches] == ["[2,1,3]", "[2,1,3]"]
    assert not any(branch.initializers for branch in branches), "what was lent is taken back"
