"""Encodings become QuantizeLinear/DequantizeLinear nodes and integer initializers (the way in: `qdq.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, quantize, set_encoding, weight_of
from bessemer.ir.errors import Blocker
from bessemer.ir.model import layer_of
from bessemer.ir.numbers import BITS, FLOAT8, holder
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult
from bessemer.passes.qdq import constant, is_standard, node_encoding

if TYPE_CHECKING:
    import onnx_ir

STANDS_FOR = "bessemer.stands_for"
"""In `Value.meta` of integers: the name and the encoding of the value that they represent."""


STATED = ("INT8", "UINT8")
"""Weights whose zero point is written even where it is zero: without one ONNX Runtime finds no integer kernel for a Gemm."""


@dataclass(frozen=True)
class MaterializeQdq:
    """Before: a float graph with encodings, at `opset`. After: the same meaning in Q/DQ nodes."""

    opset: int = 21
    contrib: bool = False
    """Whether ONNX Runtime's own Q/DQ may say 16 bits where the opset cannot."""

    name: ClassVar[str] = "materialize-qdq"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place; what the opset cannot say is declined and left as it was."""
        refused = encoding_blockers(graph, self.opset, self.contrib)
        if refused:
            return PassResult(0, tuple(blocker.line() for blocker in refused))
        count = sum(_materialize_graph(part) for part in list(graph.graphs()))
        if self.contrib and self.opset < SIXTEEN:
            _use_contrib(graph)
        return PassResult(count)


SIXTEEN = 21
"""The first opset whose Q/DQ take 16 bits; ONNX Runtime's own (`com.microsoft`) always did."""


def _use_contrib(graph: onnx_ir.Model) -> None:
    for node in graph.graph.all_nodes():
        if is_standard(node, "QuantizeLinear", "DequantizeLinear"):
            codes = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
            if codes is not None and codes.dtype is not None and codes.dtype.name in ("INT16", "UINT16"):
                node.domain = "com.microsoft"


def encoding_blockers(model: onnx_ir.Model, opset: int, contrib: bool = False) -> list[Blocker]:
    """Every encoding that Q/DQ nodes of `opset` cannot state."""
    found = []
    for graph in model.graphs():
        for value in encoded(graph):
            encoding = encoding_of(value)
            need = opset_needed(encoding, contrib) if encoding is not None else 0
            if encoding is None or need <= opset:
                continue
            maker = value.producer()
            found.append(
                Blocker(
                    node=(maker.name if maker is not None else value.name) or "",
                    op=maker.op_type if maker is not None else "constant",
                    layer=layer_of(maker) if maker is not None else "",
                    rule="qdq-opset",
                    reason=f"'{value.name}' is {_spell(encoding)}: needs opset {need}, not {opset}",
                    rewrite=f"--opset {need}",
                )
            )
    return found


def needed_opset(model: onnx_ir.Model) -> int:
    """The lowest opset that can state all encodings of a model; 0 without any."""
    encodings = [encoding_of(value) for graph in model.graphs() for value in encoded(graph)]
    return max((opset_needed(item) for item in encodings if item is not None), default=0)


def opset_needed(encoding: Encoding, contrib: bool = False) -> int:
    """The first opset whose DequantizeLinear (or ONNX Runtime's own) takes `encoding`."""
    if contrib and BITS.get(encoding.dtype) == 16 and not encoding.block_size:
        return 10 if encoding.per_tensor else 13
    if encoding.dtype in ("INT2", "UINT2"):
        return 25
    if encoding.block_size or BITS.get(encoding.dtype) in (4, 16):
        return 21
    if encoding.dtype in FLOAT8:
        return 19
    return 10 if encoding.per_tensor else 13


def _spell(encoding: Encoding) -> str:
    kind = "per tensor" if encoding.per_tensor else f"per channel on axis {encoding.axis}"
    return f"{encoding.dtype} {f'in blocks of {encoding.block_size}' if encoding.block_size else kind}"


def encoded(graph: onnx_ir.Graph) -> list[onnx_ir.Value]:
    """Encoded values that no DequantizeLinear with the same encoding stands before already."""
    values = [
        *graph.inputs,
        *graph.initializers.values(),
        *(value for node in graph for value in node.outputs),
    ]
    unique = {id(value): value for value in values if encoding_of(value) is not None}
    return [value for value in unique.values() if not _already(value)]


def _already(value: onnx_ir.Value) -> bool:
    maker = value.producer()
    return (
        is_standard(maker, "DequantizeLinear")
        and maker is not None
        and node_encoding(maker) == encoding_of(value)
    )


def _materialize_graph(graph: onnx_ir.Graph) -> int:
    order = {node: index for index, node in enumerate(graph)}
    found = encoded(graph)
    for value in found:
        if value.is_initializer():
            _weight(graph, value, order)
        else:
            _activation(graph, value)
        set_encoding(value, None)
    return len(found)


def _weight(graph: onnx_ir.Graph, value: onnx_ir.Value, order: dict[onnx_ir.Node, int]) -> None:
    """Integers as an initializer, dequantized just before their first use."""
    import onnx_ir

    encoding = encoding_of(value)
    weight = weight_of(value)
    if encoding is None:
        return
    if weight is None:
        real = constant(value)
        if real is None:
            return
        weight = QuantizedWeight(quantize(real, encoding), encoding)
    name = value.name or ""
    integers = _codes(graph, weight, f"{name}_quantized")
    node = _dequantize(graph, integers, encoding, name, signed_zero=False)
    users = [order[user] for user in value.consumers() if user in order]
    result = node.outputs[0]
    result.type, result.shape = value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    del graph.initializers[name]
    value.name = None
    result.name = name
    first = _node_at(graph, order, min(users)) if users else next(iter(graph), None)
    if first is None:
        graph.append(node)
    else:
        graph.insert_before(first, node)
    if result.dtype != onnx_ir.DataType.FLOAT:
        result.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)


def _node_at(graph: onnx_ir.Graph, order: dict[onnx_ir.Node, int], index: int) -> onnx_ir.Node:
    return next(node for node, place in order.items() if place == index)


def _activation(graph: onnx_ir.Graph, value: onnx_ir.Value) -> None:
    """`value` -> QuantizeLinear -> DequantizeLinear -> users; one that was there is shared."""
    encoding = encoding_of(value)
    if encoding is None:
        return
    users = [user for user in value.consumers() if is_standard(user, "QuantizeLinear")]
    same = [user for user in users if node_encoding(user) == encoding and user.graph is graph]
    name = value.name or ""
    uses = [use for use in value.uses() if use.node not in same]
    quantizer = same[0] if same else _quantizer(graph, value, encoding, name)
    quantizer.outputs[0].meta[STANDS_FOR] = (name, encoding)
    node = _dequantize(graph, quantizer.outputs[0], encoding, name, signed_zero=True)
    result = node.outputs[0]
    result.type, result.shape = value.type, value.shape
    graph.insert_after(quantizer, node)
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    if value.is_graph_output():
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name, result.name = f"{name}_unquantized", name
    else:
        result.name = f"{name}_dequantized"


def _quantizer(graph: onnx_ir.Graph, value: onnx_ir.Value, encoding: Encoding, name: str) -> onnx_ir.Node:
    import onnx_ir

    scale, zero = _parameters(graph, encoding, name)
    node = onnx_ir.node(
        "QuantizeLinear", [value, scale, zero], _attributes(encoding), name=f"{name}_quantize"
    )
    node.outputs[0].name = f"{name}_quantized"
    node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType[encoding.dtype])
    node.outputs[0].shape = value.shape
    maker = value.producer()
    if maker is not None and maker.graph is graph:
        graph.insert_after(maker, node)
    else:
        first = next(iter(graph), None)
        graph.append(node) if first is None else graph.insert_before(first, node)
    return node


def _dequantize(
    graph: onnx_ir.Graph, integers: onnx_ir.Value, encoding: Encoding, name: str, *, signed_zero: bool
) -> onnx_ir.Node:
    """The node, not yet in the graph; a zero point of zeros is left out of weights and biases, those of bytes excepted."""
    import onnx_ir

    maker = integers.producer()
    if signed_zero and maker is not None:
        parameters = list(maker.inputs[1:])
    else:
        scale, zero = _parameters(graph, encoding, name)
        parameters = [scale, zero]
    if len(parameters) > 1 and not signed_zero and encoding.dtype not in STATED and not np.any(encoding.zero_point):
        unused = parameters.pop()
        if unused is not None and unused.name is not None:
            del graph.initializers[unused.name]
    return onnx_ir.node(
        "DequantizeLinear", [integers, *parameters], _attributes(encoding), name=f"{name}_dequantize"
    )


def _attributes(encoding: Encoding) -> dict[str, int]:
    found: dict[str, int] = {}
    if encoding.axis is not None and not encoding.per_tensor:
        found["axis"] = encoding.axis
    if encoding.block_size:
        found["block_size"] = encoding.block_size
    return found


def _parameters(graph: onnx_ir.Graph, encoding: Encoding, name: str) -> tuple[onnx_ir.Value, onnx_ir.Value]:
    import onnx_ir

    scale = _register(graph, onnx_ir.tensor(encoding.scale.astype(np.float32)), f"{name}_scale")
    return scale, _integers(graph, encoding.zero_point, encoding.dtype, f"{name}_zero_point")


def _codes(graph: onnx_ir.Graph, weight: QuantizedWeight, name: str) -> onnx_ir.Value:
    """A weight's integers; those that a file holds are read when they are written."""
    import onnx_ir

    kind = weight.encoding.dtype
    if type(weight) is QuantizedWeight:
        return _integers(graph, weight.integers, kind, name)
    shape = weight.tensor.shape
    late = onnx_ir.LazyTensor(lambda: _packed(weight.integers, kind), dtype=onnx_ir.DataType[kind], shape=shape, cache=False)
    return _register(graph, late, name)


def _integers(graph: onnx_ir.Graph, array: Array, dtype: str, name: str) -> onnx_ir.Value:
    """Integers of an encoding as an initializer; narrow types are packed when written."""
    return _register(graph, _packed(array, dtype), name)


def _packed(array: Array, dtype: str) -> onnx_ir.TensorProtocol:
    import onnx_ir

    kind = onnx_ir.DataType[dtype]
    held = array if array.dtype == kind.numpy() else array.astype(holder(dtype)).astype(kind.numpy())
    return onnx_ir.Tensor(np.ascontiguousarray(held).reshape(array.shape), dtype=kind)


def _register(graph: onnx_ir.Graph, tensor: onnx_ir.TensorProtocol, name: str) -> onnx_ir.Value:
    import onnx_ir

    taken, unique, count = graph.initializers, name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    tensor.name = unique
    value = onnx_ir.Value(
        name=unique,
        shape=onnx_ir.Shape(tensor.shape.numpy()),
        type=onnx_ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value
