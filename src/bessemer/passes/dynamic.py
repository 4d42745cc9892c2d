"""Products that quantize their activations while they run: DynamicQuantizeLinear, then an integer operator.

y = (x_scale w_scale) ((x_q - x_zero) * w_q) + bias; x_q in UINT8 from the smallest and largest x, as ONNX defines
DynamicQuantizeLinear. ONNX Runtime joins the four nodes of a matrix product into DynamicQuantizeMatMul.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.encoding import QuantizedWeight, encoding_of, set_encoding, weight_of
from bessemer.ir.model import layer_of, tag
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import dims, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class DynamicInt8:
    """Before: nodes marked `bessemer.hybrid` = 'asymmetric' with symmetric INT8 weights. After: integer operators."""

    name: ClassVar[str] = "dynamic-int8"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place; a marked node of another form keeps its weight's codes and its float activations."""
        found = [node for node in graph.graph.all_nodes() if fits(node)]
        made: dict[onnx_ir.Value, list[onnx_ir.Value]] = {}
        for node in found:
            _Writer(node, made).write()
        return PassResult(len(found))


def fits(node: onnx_ir.Node) -> bool:
    """Whether a marked product can quantize its activations as it runs."""
    if node.metadata_props.get(HYBRID_KEY) != "asymmetric" or node.op_type not in ("Conv", "MatMul", "Gemm"):
        return False
    weight = weight_of(node.inputs[1])
    if weight is None or node.inputs[0] is None or node.inputs[0].name is None:
        return False
    held, attributes = weight.encoding, node.attributes
    if held.dtype != "INT8" or held.block_size or np.any(held.zero_point) or encoding_of(node.inputs[0]) is not None:
        return False
    if node.op_type == "Conv":
        return held.axis in (None, 0)
    if weight.integers.ndim != 2 or held.axis not in (None, 1 - _turned(node)):
        return False
    plain = attributes.get_float("alpha", 1.0) == 1 and attributes.get_float("beta", 1.0) == 1
    return node.op_type == "MatMul" or (plain and not attributes.get_int("transA", 0))


def _turned(node: onnx_ir.Node) -> int:
    """The axis of the weight that is summed."""
    return int(node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1)


class _Writer:
    """The nodes that stand for one product; `made`: quantized activations that others wrote already."""

    def __init__(self, node: onnx_ir.Node, made: dict[onnx_ir.Value, list[onnx_ir.Value]]) -> None:
        self.node, self.made, self.graph = node, made, owner(node)

    def write(self) -> None:
        """Put them in the node's place."""
        import onnx_ir

        node, weight = self.node, weight_of(self.node.inputs[1])
        if weight is None or node.inputs[0] is None or node.inputs[1] is None:
            return
        name = node.inputs[1].name or "weight"
        codes, scale, zero = self._quantized(node.inputs[0])
        summed = self._integer(codes, zero, weight, name)
        real = self._make("Cast", [summed], "cast", {"to": int(onnx_ir.DataType.FLOAT)})
        factor = self._make("Mul", [scale, self._scales(weight, name)], "scale")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        result = self._make("Mul", [real, factor], "real")
        result = result if bias is None else self._make("Add", [result, self._bias(bias)], "bias")
        self._replace(result)

    def _integer(
        self, codes: onnx_ir.Value, zero: onnx_ir.Value, weight: QuantizedWeight, name: str
    ) -> onnx_ir.Value:
        """INT32 sums. ONNX Runtime's ConvInteger takes UINT8 weights alone: theirs are shifted by 128."""
        if self.node.op_type != "Conv":
            matrix = weight.integers.T if _turned(self.node) else weight.integers
            constant = make_constant(self.graph, np.ascontiguousarray(matrix.astype(np.int8)), f"{name}_quantized")
            return self._make("MatMulInteger", [codes, constant, zero], "integer")
        shifted = (weight.integers.astype(np.int16) + 128).astype(np.uint8)
        constant = make_constant(self.graph, shifted, f"{name}_quantized")
        middle = make_constant(self.graph, np.array(128, np.uint8), f"{name}_zero_point")
        attributes = dict(self.node.attributes.items())
        return self._make("ConvInteger", [codes, constant, zero, middle], "integer", attributes)

    def _scales(self, weight: QuantizedWeight, name: str) -> onnx_ir.Value:
        scale = weight.encoding.scale.astype(np.float32)
        if self.node.op_type == "Conv" and scale.ndim:
            scale = scale.reshape(-1, *[1] * (weight.integers.ndim - 2))
        return make_constant(self.graph, scale, f"{name}_scale")

    def _bias(self, bias: onnx_ir.Value) -> onnx_ir.Value:
        """A convolution's bias lies along axis 1."""
        shape = dims(self.node.inputs[1])
        if self.node.op_type != "Conv" or shape is None:
            return bias
        spatial = make_constant(self.graph, np.array([-1, *[1] * (len(shape) - 2)], np.int64), f"{bias.name}_shape")
        return self._make("Reshape", [bias, spatial], "bias_shape")

    def _quantized(self, value: onnx_ir.Value) -> list[onnx_ir.Value]:
        """Codes, scale and zero point of an activation, right behind where it is made."""
        import onnx_ir

        if value not in self.made:
            step = onnx_ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=f"{value.name}_quantize")
            kinds = (("UINT8", "codes"), ("FLOAT", "scale"), ("UINT8", "zero"))
            for output, (kind, tail) in zip(step.outputs, kinds, strict=True):
                output.type = onnx_ir.TensorType(onnx_ir.DataType[kind])
                output.shape = value.shape if tail == "codes" else onnx_ir.Shape(())
                output.name = f"{value.name}_{tail}"
            self._place(step, value)
            self.made[value] = list(step.outputs)
        return self.made[value]

    def _place(self, step: onnx_ir.Node, value: onnx_ir.Value) -> None:
        maker = value.producer()
        if maker is not None and maker.graph is self.graph:
            self.graph.insert_after(maker, step)
            return
        first = next(iter(self.graph))
        self.graph.insert_before(first, step)

    def _make(
        self, op: str, inputs: list[onnx_ir.Value], tail: str, attributes: dict[str, Any] | None = None
    ) -> onnx_ir.Value:
        import onnx_ir

        made = onnx_ir.node(op, inputs, attributes or {}, name=f"{self.node.outputs[0].name}_{tail}")
        tag(made, *layer_of(self.node).split(";"))
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def _replace(self, result: onnx_ir.Value) -> None:
        old, weight = self.node.outputs[0], self.node.inputs[1]
        result.type, result.shape, name = old.type, old.shape, old.name
        set_encoding(result, encoding_of(old))
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        self.graph.remove(self.node, safe=True)
        old.name, result.name = None, name
        if weight is not None and not weight.uses():
            self.graph.initializers.pop(weight.name or "", None)
