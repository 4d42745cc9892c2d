"""Facts about a graph: operator counts, parameters, MACs, weights by type, peak activation memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bessemer.ir.encoding import weight_of

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class ModelStats:
    """parameters: elements of constants; weights: bytes of constants by type; macs and activations: None if unknown."""

    operators: dict[str, int]
    parameters: int
    weights: dict[str, int]
    macs: int | None
    activations: int | None


def operator_counts(model: onnx_ir.Model) -> dict[str, int]:
    """Nodes by operator, subgraphs included; constants are no operators."""
    counts = Counter(_name(node) for node in model.graph.all_nodes() if node.op_type != "Constant")
    return dict(sorted(counts.items()))


def _name(node: onnx_ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def model_stats(model: onnx_ir.Model) -> ModelStats:
    """All facts at once."""
    parameters, weights = 0, Counter[str]()
    for value in _constants(model):
        tensor = value.const_value
        if tensor is None:
            continue
        parameters += tensor.size
        held = weight_of(value)
        kind = held.encoding.dtype if held is not None else tensor.dtype.name
        weights[kind.lower()] += held.integers.nbytes if held is not None else tensor.nbytes
    macs = [node_macs(node) for node in model.graph.all_nodes()]
    known = [count for count in macs if count is not None]
    return ModelStats(
        operators=operator_counts(model),
        parameters=parameters,
        weights=dict(sorted(weights.items())),
        macs=sum(known) if len(known) == len(macs) else None,
        activations=peak_activations(model.graph),
    )


def _constants(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    """Initializers of all graphs; tied ones (one tensor object) once."""
    seen: set[int] = set()
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if id(value.const_value) not in seen:
                seen.add(id(value.const_value))
                yield value


def dims_of(value: onnx_ir.Value | None) -> tuple[int, ...] | None:
    """Shape as integers, an unbound first axis (the batch) counted as one; None when any other is unbound."""
    if value is None or value.shape is None:
        return None
    sizes = (dim if isinstance(dim, int) else 1 if axis == 0 else None for axis, dim in enumerate(value.shape))
    dims = tuple(size for size in sizes if size is not None)
    return dims if len(dims) == len(value.shape) else None


def node_macs(node: onnx_ir.Node) -> int | None:
    """Multiply-accumulates of one node; 0 for operators that do none, None where shapes are unbound."""
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        return _conv_macs(node, output=True)
    if node.op_type == "ConvTranspose":
        return _conv_macs(node, output=False)
    if node.op_type in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"):
        return _matmul_macs(node)
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return _recurrent_macs(node)
    return 0


def _conv_macs(node: onnx_ir.Node, *, output: bool) -> int | None:
    """Every element of the output (of the input, when transposed) meets one filter."""
    place = dims_of(node.outputs[0] if output else node.inputs[0])
    weight = dims_of(node.inputs[3 if node.op_type == "QLinearConv" else 1])
    return None if place is None or weight is None else math.prod(place) * math.prod(weight[1:])


def _matmul_macs(node: onnx_ir.Node) -> int | None:
    out, left = dims_of(node.outputs[0]), dims_of(node.inputs[0])
    if out is None or not left:
        return None
    transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0))
    return math.prod(out) * (left[0] if transposed else left[-1])


def _recurrent_macs(node: onnx_ir.Node) -> int | None:
    x, w, r = (dims_of(value) for value in node.inputs[:3])
    if x is None or w is None or r is None:
        return None
    return x[0] * x[1] * (math.prod(w) + math.prod(r))


def peak_activations(graph: onnx_ir.Graph) -> int | None:
    """Most bytes alive at once when nodes run in graph order and a value dies after its last use."""
    nodes = list(graph)
    last = {
        id(value): index for index, node in enumerate(nodes) for value in node.inputs if value is not None
    }
    last |= {id(value): len(nodes) for value in graph.outputs}
    sizes: dict[int, int] = {}
    alive = 0
    for value in graph.inputs:
        size = _bytes(value)
        if size is None:
            return None
        sizes[id(value)] = size
        alive += size
    peak = alive
    for index, node in enumerate(nodes):
        for value in node.outputs:
            size = _bytes(value)
            if size is None:
                return None
            sizes[id(value)] = size
            alive += size
        peak = max(peak, alive)
        ended = {
            id(v) for v in (*node.inputs, *node.outputs) if v is not None and last.get(id(v), index) == index
        }
        alive -= sum(sizes.pop(key, 0) for key in ended)
    return peak


def _bytes(value: onnx_ir.Value) -> int | None:
    if not value.name:
        return 0  # an optional output that nobody asked for
    dims = dims_of(value)
    if dims is None or value.dtype is None:
        return None
    bits = 64 if value.dtype.name == "STRING" else value.dtype.itemsize * 8
    return int((math.prod(dims) * bits + 7) // 8)
