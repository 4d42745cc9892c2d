"""LSTMs with int8 weights become ONNX Runtime's `com.microsoft.DynamicQuantizeLSTM`.

Its matrices are transposed (directions x width x gate rows), with a scale for each gate row of each direction; it
quantizes X and the hidden state while it runs (ContribOperators.md of ONNX Runtime).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.encoding import QuantizedWeight, weight_of
from bessemer.ir.model import layer_of, tag
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import make_constant, owner

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class DynamicLstm:
    """Before: LSTM nodes marked hybrid whose two matrices are INT8 (`quantize.recurrent`). After: DynamicQuantizeLSTM."""

    name: ClassVar[str] = "dynamic-lstm"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place; an LSTM of another form keeps its weights' codes and computes in float."""
        found = [node for node in graph.graph.all_nodes() if _fits(node)]
        for node in found:
            _replace(node)
        return PassResult(len(found))


def _fits(node: onnx_ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type != "LSTM" or HYBRID_KEY not in node.metadata_props:
        return False
    held = [weight_of(node.inputs[place]) for place in (1, 2)]
    by_row = all(item is not None and item.encoding.block_size == item.integers.shape[2] for item in held)
    return by_row and node.attributes.get_int("layout", 0) == 0


def _replace(node: onnx_ir.Node) -> None:
    import onnx_ir

    graph, old = owner(node), list(node.outputs)
    matrices = [_constants(graph, value) for value in node.inputs[1:3] if value is not None]
    optional = [*node.inputs[3:8], *[None] * (8 - len(node.inputs))]
    scales = [constant for _, scale, zero in matrices for constant in (scale, zero)]
    inputs = [node.inputs[0], *(codes for codes, _, _ in matrices), *optional, *scales]
    attributes = {key: item for key, item in node.attributes.items() if key != "layout"}
    new = onnx_ir.Node(
        "com.microsoft", "DynamicQuantizeLSTM", inputs, list(attributes.values()), num_outputs=len(old), name=node.name
    )
    tag(new, *layer_of(node).split(";"))
    graph.insert_before(node, new)
    for before, after in zip(old, new.outputs, strict=True):
        after.type, after.shape, name = before.type, before.shape, before.name
        before.replace_all_uses_with(after, replace_graph_outputs=True)
        before.name, after.name = None, name
    sources = node.inputs[1:3]
    graph.remove(node, safe=True)
    for value in sources:
        if value is not None and not value.uses():
            graph.initializers.pop(value.name or "", None)


def _constants(graph: onnx_ir.Graph, value: onnx_ir.Value) -> tuple[onnx_ir.Value, onnx_ir.Value, onnx_ir.Value]:
    """Codes, scales and zero points."""
    weight = weight_of(value)
    if not isinstance(weight, QuantizedWeight):
        raise ValueError(f"{value.name} has no codes")
    codes = np.ascontiguousarray(weight.integers.transpose(0, 2, 1).astype(np.int8))
    scale = np.ascontiguousarray(weight.encoding.scale[:, :, 0], np.float32)
    return (
        make_constant(graph, codes, f"{value.name}_quantized"),
        make_constant(graph, scale, f"{value.name}_scale"),
        make_constant(graph, np.zeros(scale.shape, np.int8), f"{value.name}_zero_point"),
    )
