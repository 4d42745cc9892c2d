"""QuantizeLinear/DequantizeLinear nodes become encodings (the way back: `materialize.py`).

Loss-free: a DequantizeLinear of integer constants becomes a constant held as integers; a pair on an activation
becomes the encoding of the value it quantizes. Pairs at the border (a graph input, a value that is also used
unquantized) stay as nodes, and the value behind them carries the encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, quantize, set_encoding, set_weight
from bessemer.ir.numbers import BITS, holder
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult

if TYPE_CHECKING:
    import onnx_ir

MOVES = frozenset(
    [
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "Slice",
        "Gather",
        "Concat",
        "Split",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
        "MaxPool",
        "Max",
        "Min",
    ]
)
"""Operators that commute with a quantization of one encoding: they move or pick elements."""


KERNELS_KEY = "bessemer.kernels"
"""Model metadata: 'integer' when the source stated integer operators (QLinearConv, ...), not Q/DQ pairs."""


@dataclass(frozen=True)
class AbsorbQdq:
    """Before: any graph. After: no Q/DQ pair on inner values, no DequantizeLinear of constants."""

    name: ClassVar[str] = "absorb-qdq"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        from bessemer.passes.qoperator import expand_qoperators

        changed, declined = expand_qoperators(graph)
        if changed:
            graph.metadata_props[KERNELS_KEY] = "integer"
        for part in graph.graphs():
            changed += _adopt_domain(part)
            changed += _absorb_weights(part)
            changed += _sink(part)
            changed += _absorb_pairs(part)
        return PassResult(changed, tuple(declined))


def node_encoding(node: onnx_ir.Node) -> Encoding | None:
    """The encoding a Q or DQ node states; None when it is not constant, affine and integer."""
    import onnx_ir

    scale = constant(node.inputs[1])
    if scale is None or scale.dtype != np.float32 or not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        return None
    given = node.inputs[2] if len(node.inputs) > 2 else None
    zero = constant(given)
    dtype = _integer_type(node, given)
    if dtype not in BITS or (given is not None and zero is None):
        return None
    precision = node.attributes.get_int("precision", 0)
    if precision not in (0, int(onnx_ir.DataType.FLOAT)):
        return None
    zero = np.zeros(scale.shape, holder(dtype)) if zero is None else zero.astype(holder(dtype))
    if scale.size == 1 and scale.ndim <= 1:
        return Encoding(dtype, scale.reshape(()), zero.reshape(()))
    return _along_axis(node, dtype, scale, zero)


def _along_axis(node: onnx_ir.Node, dtype: str, scale: Array, zero: Array) -> Encoding | None:
    axis = node.attributes.get_int("axis", 1)
    block = node.attributes.get_int("block_size", 0)
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if axis < 0:
        if shape is None:
            return None
        axis += len(shape)
    if scale.ndim != 1 and not block:
        return None
    if block and (shape is None or not isinstance(shape[axis], int) or -(-shape[axis] // block) != scale.shape[axis]):
        return None
    return Encoding(dtype, scale, zero.reshape(scale.shape), axis, block)


def _integer_type(node: onnx_ir.Node, zero: onnx_ir.Value | None) -> str:
    import onnx_ir

    if zero is not None and zero.dtype is not None:
        return str(zero.dtype.name)
    if node.op_type == "QuantizeLinear":
        kind = node.attributes.get_int("output_dtype", 0)
        return str(onnx_ir.DataType(kind).name) if kind else "UINT8"
    source = node.inputs[0]
    return "" if source is None or source.dtype is None else str(source.dtype.name)


def constant(value: onnx_ir.Value | None) -> Array | None:
    """The array behind a constant value."""
    import onnx_ir

    tensor = None if value is None else onnx_ir.convenience.get_const_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def is_standard(node: onnx_ir.Node | None, *ops: str) -> bool:
    """Whether `node` is one of the ai.onnx operators `ops`."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in ops


def _adopt_domain(graph: onnx_ir.Graph) -> int:
    """ONNX Runtime's own Q/DQ mean the same as the standard's of opset 21."""
    found = [
        node
        for node in graph
        if node.domain == "com.microsoft" and node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    for node in found:
        node.domain = ""
    return len(found)


def _absorb_weights(graph: onnx_ir.Graph) -> int:
    """DequantizeLinear of constants becomes a constant held as integers."""
    done: dict[tuple[object, ...], onnx_ir.Value] = {}
    count = 0
    for node in list(graph):
        if not is_standard(node, "DequantizeLinear") or node.outputs[0].is_graph_output():
            continue
        weight = _weight_behind(node)
        if weight is None:
            continue
        key = (
            id(node.inputs[0]),
            *(id(value) for value in node.inputs[1:]),
            node.attributes.get_int("axis", 1),
        )
        out = node.outputs[0]
        if key in done:
            out.replace_all_uses_with(done[key])
            graph.remove(node, safe=True)
        else:
            done[key] = _constant_in_place_of(graph, node, weight)
        count += 1
    return count


def _weight_behind(node: onnx_ir.Node) -> QuantizedWeight | None:
    encoding = node_encoding(node)
    source = node.inputs[0]
    if encoding is None or source is None:
        return None
    integers = constant(source)
    if integers is not None:
        return QuantizedWeight(integers, encoding)
    maker = source.producer()
    if maker is None or not is_standard(maker, "QuantizeLinear") or node_encoding(maker) != encoding:
        return None
    real = constant(maker.inputs[0])
    if real is None or real.dtype != np.float32:
        return None
    return QuantizedWeight(quantize(real, encoding), encoding)


def _constant_in_place_of(graph: onnx_ir.Graph, node: onnx_ir.Node, weight: QuantizedWeight) -> onnx_ir.Value:
    import onnx_ir

    old = node.outputs[0]
    name = old.name
    value = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape(weight.integers.shape), type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    )
    set_weight(value, weight)
    old.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    old.name = None
    graph.register_initializer(value)
    return value


def _sink(graph: onnx_ir.Graph) -> int:
    """Move QuantizeLinear behind operators that only move integers, so that its pair meets again."""
    count = 0
    for node in list(graph):
        if not is_standard(node, *MOVES) or len(node.outputs) == 0:
            continue
        made = [_quantizer(value) for value in _data_inputs(node)]
        first = made[0] if made else None
        encoding = None if first is None else node_encoding(first)
        if first is None or encoding is None or not encoding.per_tensor:
            continue
        if any(other is None or node_encoding(other) != encoding for other in made):
            continue
        if node.op_type == "MaxPool" and len(node.outputs) > 1:
            continue
        _move_quantizer(graph, node, first)
        count += 1
    return count


def _data_inputs(node: onnx_ir.Node) -> list[onnx_ir.Value | None]:
    return list(node.inputs) if node.op_type in ("Concat", "Max", "Min") else list(node.inputs[:1])


def _quantizer(value: onnx_ir.Value | None) -> onnx_ir.Node | None:
    maker = None if value is None else value.producer()
    return maker if is_standard(maker, "QuantizeLinear") else None


def _move_quantizer(graph: onnx_ir.Graph, node: onnx_ir.Node, quantizer: onnx_ir.Node) -> None:
    import onnx_ir

    scale_zero = list(quantizer.inputs[1:])
    for index, value in enumerate(_data_inputs(node)):
        real = onnx_ir.node("DequantizeLinear", [value, *scale_zero], name=f"{node.name}_dequantize_{index}")
        real.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        real.outputs[0].shape = None if value is None else value.shape
        graph.insert_before(node, real)
        node.replace_input_with(index, real.outputs[0])
    for value in node.outputs:
        _quantize_after(graph, node, value, quantizer)


def _quantize_after(
    graph: onnx_ir.Graph, node: onnx_ir.Node, value: onnx_ir.Value, quantizer: onnx_ir.Node
) -> None:
    """`value` keeps its integers' name behind the new quantizer; the real value gets a name of its own."""
    import onnx_ir

    attributes = {key: attribute for key, attribute in quantizer.attributes.items() if key != "axis"}
    again = onnx_ir.node(
        "QuantizeLinear", [value, *quantizer.inputs[1:]], attributes, name=f"{node.name}_quantize"
    )
    result = again.outputs[0]
    result.type, result.shape = value.type, value.shape
    graph.insert_after(node, again)
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    again.replace_input_with(0, value)
    result.name = value.name
    value.name = f"{value.name}_real"
    value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)


def _absorb_pairs(graph: onnx_ir.Graph) -> int:
    count = 0
    for node in list(graph):
        if is_standard(node, "QuantizeLinear") and node.graph is graph:
            count += _absorb_quantizer(graph, node)
    return count


def _absorb_quantizer(graph: onnx_ir.Graph, quantizer: onnx_ir.Node) -> int:
    """Put the encoding on the quantized value where it is used in no other way, else on what comes back."""
    value, encoding = quantizer.inputs[0], node_encoding(quantizer)
    if value is None or encoding is None:
        return 0
    if encoding.axis is not None and (value.shape is None or encoding.block_size):
        return 0
    pairs = [user for user in quantizer.outputs[0].consumers() if _undoes(user, encoding)]
    if not pairs or not _all_quantized(value, encoding):
        for pair in pairs:
            set_encoding(pair.outputs[0], encoding)
        return 0
    set_encoding(value, encoding)
    count = sum(_remove_pair(graph, value, pair) for pair in pairs)
    if not quantizer.outputs[0].uses() and not quantizer.outputs[0].is_graph_output():
        graph.remove(quantizer, safe=True)
        count += 1
    return count


def _undoes(node: onnx_ir.Node, encoding: Encoding) -> bool:
    return is_standard(node, "DequantizeLinear") and node_encoding(node) == encoding


def _all_quantized(value: onnx_ir.Value, encoding: Encoding) -> bool:
    """Whether every use of `value` goes through this encoding."""
    if value.producer() is None or value.is_graph_output():
        return False
    held = encoding_of(value)
    if held is not None:
        return held == encoding
    return all(
        is_standard(user, "QuantizeLinear") and node_encoding(user) == encoding for user in value.consumers()
    )


def _remove_pair(graph: onnx_ir.Graph, value: onnx_ir.Value, pair: onnx_ir.Node) -> int:
    back = pair.outputs[0]
    if back.is_graph_output():
        if value.is_graph_output() or pair.graph is not graph or value.graph is not graph:
            set_encoding(back, encoding_of(value))
            return 0
        name, back.name = back.name, None
        back.replace_all_uses_with(value, replace_graph_outputs=True)
        value.name = name
    else:
        back.replace_all_uses_with(value)
    home = pair.graph
    if home is not None:
        home.remove(pair, safe=True)
    return 1
