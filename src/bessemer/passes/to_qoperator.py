"""Encodings become operators on integers: QLinearConv, QLinearMatMul, and ONNX Runtime's own (the way in:
`qoperator.py`).

What an operator on integers cannot say keeps its encodings, which `materialize.py` writes as Q/DQ pairs. A clip behind a
product is drawn into the saturation of its result, or follows as a Clip of integers. Dense layers with a bias become
convolutions of 1x1 where only the standard's operators may be used: QLinearMatMul adds none. Sources: ONNX operator
specification; ONNX Runtime's contrib operator documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, quantize, set_encoding, weight_of
from bessemer.ir.model import layer_of, tag
from bessemer.ir.numbers import integer_range
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult
from bessemer.passes.materialize import STANDS_FOR
from bessemer.passes.qdq import is_standard, node_encoding
from bessemer.passes.rewrite import constant, is_constant, make_constant

if TYPE_CHECKING:
    import onnx_ir

BYTES = ("INT8", "UINT8")
CONTRIB = "com.microsoft"
CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

MOVES = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Expand", "Tile", "MaxPool",
    "Concat",
)  # fmt: skip
"""Standard operators that take bytes as they are, where input and output share an encoding."""

BINARY = {"Add": "QLinearAdd", "Mul": "QLinearMul"}
UNARY: dict[str, tuple[str, tuple[str, ...], dict[str, int]]] = {
    "Sigmoid": ("QLinearSigmoid", (), {}),
    "LeakyRelu": ("QLinearLeakyRelu", ("alpha",), {}),
    "GlobalAveragePool": ("QLinearGlobalAveragePool", (), {"channels_last": 0}),
    "AveragePool": ("QLinearAveragePool", POOL, {"channels_last": 0}),
    "Softmax": ("QLinearSoftmax", ("axis",), {"opset": 13}),
}
"""ONNX Runtime's operators of one operand: name, attributes that are kept, attributes of its own."""


@dataclass(frozen=True)
class QOperators:
    """Before: a float graph with 8-bit encodings. After: what can compute on integers does, the rest is as it was.

    contrib: whether ONNX Runtime's operators may be used beside the standard's.
    """

    contrib: bool = False
    name: ClassVar[str] = "qoperators"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        count = 0
        for part in graph.graphs():
            writer = _Writer(part, self.contrib)
            for node in list(part):
                if node.graph is part and node.domain in ("", "ai.onnx"):
                    count += writer.rewrite(node)
            writer.tidy()
        if count and self.contrib:
            graph.graph.opset_imports.setdefault(CONTRIB, 1)
        return PassResult(count)


@dataclass(frozen=True)
class SaturatingClips:
    """Before: clips whose result is stored in bytes. After: those that saturation keeps anyway are gone; ONNX Runtime
    would draw others into the float operator before them."""

    name: ClassVar[str] = "saturating-clips"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        return PassResult(sum(_drop_clip(node) for node in list(graph.graph.all_nodes())))


def _drop_clip(node: onnx_ir.Node) -> bool:
    bounds, encoding, source = _bounds(node), byte_encoding(node.outputs[0]), node.inputs[0] if node.inputs else None
    if bounds is None or encoding is None or source is None or _steps(bounds, encoding) is not None:
        return False
    maker = source.producer()
    if maker is None or encoding_of(source) is not None or _only_reader(source) is not node or node.graph is None:
        return False
    old, name = node.outputs[0], node.outputs[0].name
    set_encoding(source, encoding)
    tag(maker, *layer_of(maker).split(";"), *layer_of(node).split(";"))
    old.replace_all_uses_with(source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    old.name, source.name = None, name
    return True


@dataclass(frozen=True)
class Result:
    """Where an operator's result is stored: the last node drawn into it, its encoding, and a clip of integers."""

    nodes: tuple[onnx_ir.Node, ...]
    value: onnx_ir.Value
    encoding: Encoding
    clip: tuple[int, int] | None
    bias: onnx_ir.Value | None = None


def byte_encoding(value: onnx_ir.Value | None) -> Encoding | None:
    """The encoding of a value in bytes with one scale."""
    encoding = encoding_of(value)
    return encoding if encoding is not None and encoding.dtype in BYTES and encoding.per_tensor else None


def result_of(node: onnx_ir.Node) -> Result | None:
    """What is stored of a node; None where that is no byte, or where something between has other readers."""
    nodes, value, bias = [node], node.outputs[0], None
    if encoding_of(value) is None and node.op_type == "MatMul":
        follower = _only_reader(value)
        if is_standard(follower, "Add") and follower is not None:
            other = follower.inputs[1] if follower.inputs[0] is value else follower.inputs[0]
            if other is not None and is_constant(other) and _rank(other) == 1:
                nodes, value, bias = [*nodes, follower], follower.outputs[0], other
    clip = None
    if encoding_of(value) is None:
        follower = _only_reader(value)
        bounds = _bounds(follower)
        if follower is None or bounds is None or follower.inputs[0] is not value:
            return None
        nodes, value, clip = [*nodes, follower], follower.outputs[0], bounds
    encoding = byte_encoding(value)
    if encoding is None:
        return None
    return Result(tuple(nodes), value, encoding, _steps(clip, encoding), bias)


def _rank(value: onnx_ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _only_reader(value: onnx_ir.Value) -> onnx_ir.Node | None:
    if value.is_graph_output() or len(value.uses()) != 1:
        return None
    reader: onnx_ir.Node = next(iter(value.consumers()))
    maker = value.producer()
    return reader if maker is not None and reader.graph is maker.graph else None


def _bounds(node: onnx_ir.Node | None) -> tuple[float, float] | None:
    """Of a Relu, or of a Clip at constants."""
    if node is not None and is_standard(node, "Relu"):
        return 0.0, np.inf
    if node is None or not is_standard(node, "Clip"):
        return None
    found = []
    for place, open_end in ((1, -np.inf), (2, np.inf)):
        given = node.inputs[place] if len(node.inputs) > place else None
        held = constant(given)
        if given is not None and held is None:
            return None
        found.append(open_end if held is None else float(held.reshape(-1)[0]))
    return found[0], found[1]


def _steps(bounds: tuple[float, float] | None, encoding: Encoding) -> tuple[int, int] | None:
    """Bounds in integers; None where saturation alone keeps them."""
    if bounds is None:
        return None
    low, high = integer_range(encoding.dtype)
    scale, zero = float(encoding.scale), int(encoding.zero_point)
    ends = [np.clip(np.rint(np.float32(bound) / np.float32(scale)) + zero, low, high) for bound in bounds]
    steps = int(ends[0]), int(ends[1])
    return None if steps == (low, high) else steps


class _Writer:
    """Rewrites nodes of one graph."""

    def __init__(self, graph: onnx_ir.Graph, contrib: bool) -> None:
        self.graph, self.contrib = graph, contrib
        self.made: dict[onnx_ir.Value, onnx_ir.Value] = {}
        self.parameters: dict[tuple[bytes, str, str], list[onnx_ir.Value]] = {}

    def rewrite(self, node: onnx_ir.Node) -> bool:
        """Whether the node computes on integers now."""
        if node.op_type == "Conv":
            return self._conv(node)
        if node.op_type in ("Gemm", "MatMul"):
            return self._dense(node) or self._matmul(node)
        if node.op_type in MOVES and self._move(node):
            return True
        if node.op_type in ("Relu", "Clip"):
            return self._clip(node)
        return self.contrib and self._contributed(node)

    def tidy(self) -> None:
        """Drop what nobody reads: pairs that met, values that are only read as integers."""
        for value in self.made:
            if not value.is_graph_output() and all(user.op_type == "QuantizeLinear" for user in value.consumers()):
                set_encoding(value, None)
        for node in reversed(list(self.graph)):
            real = node.outputs[0]
            if is_standard(node, "DequantizeLinear") and not real.uses() and not real.is_graph_output():
                self.graph.remove(node, safe=True)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del self.graph.initializers[name]

    def _conv(self, node: onnx_ir.Node) -> bool:
        weight, bias, result = weight_of(node.inputs[1]), _bias_of(node), result_of(node)
        source = byte_encoding(node.inputs[0])
        if weight is None or result is None or source is None or not _plain_weight(weight, 0):
            return False
        if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
            return False
        inputs = [*self._operand(node.inputs[0]), *self._weight(node.inputs[1]), *self._encoding(result.encoding)]
        if bias is not None:
            inputs.append(self._constant(bias, f"{node.inputs[2].name}_quantized"))  # type: ignore[union-attr]
        self._finish(result, self._node("QLinearConv", inputs, node, _kept(node, CONV)))
        return True

    def _dense(self, node: onnx_ir.Node) -> bool:
        """A product with a constant matrix, through QGemm, QLinearMatMul or a convolution of 1x1."""
        weight, result, source = weight_of(node.inputs[1]), result_of(node), byte_encoding(node.inputs[0])
        turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
        if weight is None or result is None or source is None or weight.integers.ndim != 2 or not _plain_gemm(node):
            return False
        if not _plain_weight(weight, 0 if turned else 1):
            return False
        rank = _rank(node.inputs[0])
        bias = _bias_of(node) if result.bias is None else _quantized_bias(result.bias, source, weight)
        has_bias = bias is not None or (len(node.inputs) > 2 and node.inputs[2] is not None)
        if has_bias and (bias is None or rank != 2):
            return False
        rows = weight if turned else weight.transposed((1, 0))
        ends: list[onnx_ir.Value | None] = [*self._encoding(result.encoding)]
        if self.contrib and rank == 2:
            given = None if bias is None else self._constant(bias, f"{node.outputs[0].name}_bias_quantized")
            inputs = [*self._operand(node.inputs[0]), *self._held(rows, node), given, *ends]
            self._finish(result, self._node("QGemm", inputs, node, {"transB": 1}, CONTRIB))
        elif bias is None:
            columns = self._held(rows.transposed((1, 0)), node)
            self._finish(result, self._node("QLinearMatMul", [*self._operand(node.inputs[0]), *columns, *ends], node, {}))
        else:
            self._convolve(node, rows, bias, result)
        return True

    def _convolve(self, node: onnx_ir.Node, rows: QuantizedWeight, bias: Array | None, result: Result) -> None:
        """[n, k] x [k, m] + b as a convolution over [n, k, 1, 1]."""
        name = node.outputs[0].name
        square = QuantizedWeight(rows.integers[:, :, None, None], rows.encoding)
        codes, *parameters = self._operand(node.inputs[0])
        wide = self._constant(np.array([0, -1, 1, 1], np.int64), f"{name}_shape")
        image = self._node("Reshape", [codes, wide], node, {}, tail="_image")
        self._place(result, image)
        ends = self._encoding(result.encoding)
        inputs = [image.outputs[0], *parameters, *self._held(square, node), *ends]
        inputs += [] if bias is None else [self._constant(bias, f"{name}_bias_quantized")]
        product = self._node("QLinearConv", inputs, node, {})
        self._place(result, product)
        flat = self._constant(np.array([0, -1], np.int64), f"{name}_shape")
        self._finish(result, self._node("Reshape", [product.outputs[0], flat], node, {}, tail="_flat"))

    def _matmul(self, node: onnx_ir.Node) -> bool:
        """A product of two activations."""
        result = result_of(node)
        if node.op_type != "MatMul" or result is None or result.bias is not None:
            return False
        if any(byte_encoding(value) is None or is_constant(value) for value in node.inputs):
            return False
        inputs = [part for value in node.inputs for part in self._operand(value)]
        self._finish(result, self._node("QLinearMatMul", [*inputs, *self._encoding(result.encoding)], node, {}))
        return True

    def _move(self, node: onnx_ir.Node) -> bool:
        data = list(node.inputs) if node.op_type == "Concat" else [node.inputs[0]]
        encodings = [byte_encoding(value) for value in (*data, *node.outputs)]
        if encodings[0] is None or any(item != encodings[0] for item in encodings):
            return False
        if any(is_constant(value) for value in data) or (node.op_type == "MaxPool" and len(node.outputs) > 1):
            return False
        inputs: list[onnx_ir.Value | None] = [self._operand(value)[0] for value in data]
        inputs += node.inputs[len(data) :]
        new = self._node(node.op_type, inputs, node, dict(node.attributes), outputs=len(node.outputs))
        self.graph.insert_before(node, new)
        for old, fresh in zip(node.outputs, new.outputs, strict=True):
            self._dequantize(old, fresh, encodings[0], before=node)
        self.graph.remove(node, safe=True)
        return True

    def _clip(self, node: onnx_ir.Node) -> bool:
        """A clip that stands alone, between equal encodings."""
        source, result = byte_encoding(node.inputs[0]), byte_encoding(node.outputs[0])
        bounds = _bounds(node)
        if source is None or source != result or bounds is None or is_constant(node.inputs[0]):
            return False
        codes = self._operand(node.inputs[0])[0]
        steps = _steps(bounds, source) or integer_range(source.dtype)
        self._finish(Result((node,), node.outputs[0], source, None), self._clipped(codes, steps, source, node))
        return True

    def _contributed(self, node: onnx_ir.Node) -> bool:
        """ONNX Runtime's operators between any encodings of one type."""
        result = result_of(node)
        sources = [byte_encoding(value) for value in node.inputs]
        kinds = {item.dtype for item in (*sources, result.encoding if result else None) if item is not None}
        if result is None or None in sources or len(kinds) != 1:
            return False
        ends = self._encoding(result.encoding)
        if node.op_type in BINARY:
            inputs = [part for value in node.inputs for part in self._operand(value)]
            new = self._node(BINARY[node.op_type], [*inputs, *ends], node, {}, CONTRIB)
        elif node.op_type == "Concat":
            inputs = [part for value in node.inputs for part in self._operand(value)]
            new = self._node("QLinearConcat", [*ends, *inputs], node, _kept(node, ("axis",)), CONTRIB)
        elif node.op_type in UNARY and not np.any(np.array(node.attributes.get_ints("dilations", [1])) != 1):
            op, kept, own = UNARY[node.op_type]
            new = self._node(op, [*self._operand(node.inputs[0]), *ends], node, {**_kept(node, kept), **own}, CONTRIB)
        else:
            return False
        self._finish(result, new)
        return True

    def _operand(self, value: onnx_ir.Value | None) -> list[onnx_ir.Value]:
        """Codes, scale and zero point of an encoded value."""
        encoding = byte_encoding(value)
        if value is None or encoding is None:
            raise ValueError("the value has no encoding in bytes")
        if weight_of(value) is not None:
            return self._weight(value)
        return [self._codes(value, encoding), *self._encoding(encoding)]

    def _codes(self, value: onnx_ir.Value, encoding: Encoding) -> onnx_ir.Value:
        import onnx_ir

        maker = value.producer()
        if maker is not None and is_standard(maker, "DequantizeLinear") and node_encoding(maker) == encoding:
            return maker.inputs[0]  # type: ignore[return-value]
        if value not in self.made:
            step = onnx_ir.node("QuantizeLinear", [value, *self._encoding(encoding)], name=f"{value.name}_quantize")
            self._codes_of(step.outputs[0], value, encoding)
            if maker is not None and maker.graph is self.graph:
                self.graph.insert_after(maker, step)
            else:
                self.graph.insert_before(next(iter(self.graph)), step)
            self.made[value] = step.outputs[0]
        return self.made[value]

    def _codes_of(self, codes: onnx_ir.Value, value: onnx_ir.Value, encoding: Encoding) -> None:
        import onnx_ir

        codes.type, codes.shape = onnx_ir.TensorType(onnx_ir.DataType[encoding.dtype]), value.shape
        codes.name = f"{value.name}_quantized"
        codes.meta[STANDS_FOR] = (value.name or "", encoding)

    def _weight(self, value: onnx_ir.Value | None) -> list[onnx_ir.Value]:
        held = weight_of(value)
        if held is None or value is None:
            raise ValueError("the value is not held as integers")
        if value not in self.made:
            self.made[value] = self._constant(held.integers.astype(_kind(held.encoding)), f"{value.name}_quantized")
        return [self.made[value], *self._encoding(held.encoding)]

    def _held(self, weight: QuantizedWeight, node: onnx_ir.Node) -> list[onnx_ir.Value]:
        integers = np.ascontiguousarray(weight.integers.astype(_kind(weight.encoding)))
        return [self._constant(integers, f"{node.inputs[1].name}_quantized"), *self._encoding(weight.encoding)]  # type: ignore[union-attr]

    def _encoding(self, encoding: Encoding) -> list[onnx_ir.Value]:
        key = (encoding.scale.tobytes() + encoding.zero_point.tobytes(), encoding.dtype, str(encoding.scale.shape))
        if key not in self.parameters:
            scale = self._constant(encoding.scale.astype(np.float32), "scale")
            zero = self._constant(encoding.zero_point.astype(_kind(encoding)), "zero_point")
            self.parameters[key] = [scale, zero]
        return self.parameters[key]

    def _constant(self, array: Array, name: str) -> onnx_ir.Value:
        return make_constant(self.graph, np.ascontiguousarray(array).reshape(array.shape), name)

    def _node(
        self,
        op: str,
        inputs: Sequence[onnx_ir.Value | None],
        like: onnx_ir.Node,
        attributes: dict[str, Any],
        domain: str = "",
        *,
        tail: str = "",
        outputs: int = 1,
    ) -> onnx_ir.Node:
        import onnx_ir

        new = onnx_ir.node(op, inputs, attributes, domain=domain, name=f"{like.name}{tail}", num_outputs=outputs)
        tag(new, *layer_of(like).split(";"))
        for place, output in enumerate(new.outputs):
            output.name = f"{like.outputs[place].name}_codes{tail}"
        return new

    def _clipped(self, codes: onnx_ir.Value, steps: tuple[int, int], encoding: Encoding, like: onnx_ir.Node) -> onnx_ir.Node:
        ends = [self._constant(np.array(step, _kind(encoding)), f"{like.name}_bound") for step in steps]
        return self._node("Clip", [codes, *ends], like, {}, tail="_clip")

    def _place(self, result: Result, new: onnx_ir.Node) -> None:
        self.graph.insert_before(result.nodes[-1], new)

    def _finish(self, result: Result, new: onnx_ir.Node) -> None:
        """Put `new` in the place of the nodes that were drawn into it."""
        last = result.nodes[-1]
        for node in result.nodes:
            tag(new, *layer_of(new).split(";"), *layer_of(node).split(";"))
        self._place(result, new)
        if result.clip is not None:
            new.outputs[0].type = _tensor_type(result.encoding)
            clipped = self._clipped(new.outputs[0], result.clip, result.encoding, last)
            self._place(result, clipped)
            new = clipped
        self._dequantize(result.value, new.outputs[0], result.encoding, before=last)
        for node in reversed(result.nodes):
            self.graph.remove(node, safe=True)

    def _dequantize(
        self, old: onnx_ir.Value, codes: onnx_ir.Value, encoding: Encoding, *, before: onnx_ir.Node
    ) -> None:
        """The real value, under its old name, for whoever still wants it."""
        import onnx_ir

        self._codes_of(codes, old, encoding)
        back = onnx_ir.node("DequantizeLinear", [codes, *self._encoding(encoding)], name=f"{old.name}_dequantize")
        self.graph.insert_before(before, back)
        real = back.outputs[0]
        real.type, real.shape = old.type, old.shape
        set_encoding(real, encoding)
        name = old.name
        old.replace_all_uses_with(real, replace_graph_outputs=True)
        old.name, real.name = None, name


def _tensor_type(encoding: Encoding) -> Any:
    import onnx_ir

    return onnx_ir.TensorType(onnx_ir.DataType[encoding.dtype])


def _kind(encoding: Encoding) -> Any:
    return np.dtype(encoding.dtype.lower())


def _kept(node: onnx_ir.Node, names: Sequence[str]) -> dict[str, Any]:
    return {name: node.attributes[name] for name in names if name in node.attributes}


def _plain_weight(weight: QuantizedWeight, axis: int) -> bool:
    """Bytes with one scale, or one for each output channel."""
    encoding = weight.encoding
    return encoding.dtype in BYTES and not encoding.block_size and encoding.axis in (None, axis)


def _plain_gemm(node: onnx_ir.Node) -> bool:
    if node.op_type == "MatMul":
        return True
    factors = (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0))
    return factors == (1, 1) and not node.attributes.get_int("transA", 0)


def _bias_of(node: onnx_ir.Node) -> Array | None:
    """The integers of a bias that is held as the accumulator wants them."""
    held = weight_of(node.inputs[2]) if len(node.inputs) > 2 else None
    return held.integers.astype(np.int32) if held is not None and held.encoding.dtype == "INT32" else None


def _quantized_bias(bias: onnx_ir.Value, source: Encoding, weight: QuantizedWeight) -> Array:
    """A bias that is added in float, at the accumulator's scale."""
    scale = np.asarray(source.scale.astype(np.float32) * weight.encoding.scale.astype(np.float32), np.float32)
    held = constant(bias, 1 << 30)
    real = np.zeros(1, np.float32) if held is None else held.astype(np.float32)
    encoding = Encoding("INT32", scale, np.zeros(scale.shape, np.int32), None if scale.ndim == 0 else 0)
    return quantize(real, encoding).astype(np.int32)
