"""Helpers of the fusion tests: a model from ONNX text, run in ONNX Runtime before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from bessemer.passes.base import PassResult
from bessemer.passes.fuse import Fuse
from bessemer.passes.opset import ConvertOpset
from bessemer.passes.opset.expansions import spell_fused
from bessemer.passes.shapes import InferShapes
from bessemer.passes.standard import standard_passes

RNG = np.random.default_rng(7)
Arrays = Mapping[str, np.ndarray]


def noise(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def parsed(text: str, weights: Arrays | None = None, opset: int = 18) -> onnx.ModelProto:
    """`text` is a graph in ONNX's own notation; `weights` become initializers."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in (weights or {}).items()
    )
    return proto


def run(proto: onnx.ModelProto, fed: Arrays) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, dict(fed))


def compare(proto: onnx.ModelProto, graph: ir.Model, fed: Arrays) -> None:
    graph = graph.clone()
    spell_fused(graph)
    graph.ir_version = 10
    for before, after in zip(run(proto, fed), run(ir.to_proto(graph), fed), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def optimized(proto: onnx.ModelProto) -> tuple[ir.Model, PassResult]:
    """The graph after the standard passes, and what Fuse said; shapes are inferred before, as in the real road."""
    graph = ir.from_proto(proto)
    said = PassResult()
    for step in standard_passes({}):
        result = step.run(graph)
        said = result if isinstance(step, Fuse) else said
    return graph, said


def count(graph: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in graph.graph.all_nodes()))


def fused(text: str, fed: Arrays, weights: Arrays | None = None, opset: int = 18) -> dict[str, int]:
    """Operators after the passes; the results stay, also written down for opset 13."""
    proto = parsed(text, weights, opset)
    graph, _ = optimized(proto)
    compare(proto, graph, fed)
    old = graph.clone()
    assert ConvertOpset(13).run(old).declined == ()
    InferShapes().run(old)
    compare(proto, old, fed)
    return count(graph)


def kept(text: str, fed: Arrays, weights: Arrays | None = None, opset: int = 18) -> tuple[str, ...]:
    """What Fuse said of a model in which it changes nothing."""
    proto = parsed(text, weights, opset)
    graph, said = optimized(proto)
    compare(proto, graph, fed)
    assert said.changed == 0
    return said.declined
