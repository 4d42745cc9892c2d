"""Activations that are quantized while a model runs, row by row, in float arithmetic: what TFLite's hybrid kernels compute.

For each row of a dense layer's input, and for each image of a convolution's: s = (max(x, 0) - min(x, 0)) / 255,
z = round(-128 - min(x, 0) / s), x' = s (clip(round(x / s) + z, -128, 127) - z) (LiteRT,
`tensor_utils::AsymmetricQuantizeFloats`; XNNPACK's qd8 kernels choose the same up to a last place of s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bessemer.passes.base import PassResult
from bessemer.passes.dynamic import fits
from bessemer.passes.rewrite import make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

LEAST = np.float32(1e-30)


@dataclass(frozen=True)
class DynamicRows:
    """Before: nodes marked `bessemer.hybrid` = 'asymmetric' with symmetric INT8 weights. After: their inputs are quantized
    and dequantized in front of them; weights keep their encodings."""

    name: ClassVar[str] = "dynamic-rows"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        found = [node for node in graph.graph.all_nodes() if fits(node)]
        for node in found:
            _Rounded(node).write()
        return PassResult(len(found))


class _Rounded:
    def __init__(self, node: onnx_ir.Node) -> None:
        self.node, self.graph = node, owner(node)

    def write(self) -> None:
        import onnx_ir

        x = self.node.inputs[0]
        if x is None or x.shape is None:
            return
        rank = len(x.shape)
        axes = list(range(1, rank)) if self.node.op_type == "Conv" else [rank - 1]
        held = self._constant(np.array(axes, np.int64))
        low, high = (
            self._make(clamp, self._make(reduce, x, held), self._constant(np.float32(0)))
            for clamp, reduce in (("Min", "ReduceMin"), ("Max", "ReduceMax"))
        )
        step = self._make("Div", self._make("Sub", high, low), self._constant(np.float32(255)))
        step = self._make("Max", step, self._constant(LEAST))
        zero = self._make("Round", self._make("Sub", self._constant(np.float32(-128)), self._make("Div", low, step)))
        codes = self._make("Add", self._make("Round", self._make("Div", x, step)), zero)
        ends = [self._constant(np.float32(bound)) for bound in (-128, 127)]
        real = self._make("Mul", self._make("Sub", self._make("Clip", codes, *ends), zero), step)
        real.type, real.shape = onnx_ir.TensorType(onnx_ir.DataType.FLOAT), x.shape
        self.node.replace_input_with(0, real)

    def _make(self, op: str, *inputs: onnx_ir.Value) -> onnx_ir.Value:
        import onnx_ir

        made = onnx_ir.node(op, list(inputs))
        made.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def _constant(self, array: Any) -> onnx_ir.Value:
        return make_constant(self.graph, np.asarray(array), f"{self.node.outputs[0].name}_row")
