"""A factor for each input channel of products, taken back by whatever made their input.

(X diag(1/s)) (diag(s) W) = X W. AWQ and SmoothQuant choose s; it costs nothing where 1/s folds into what makes X: a
normalisation's gain, a constant factor, another product's output channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import encoding_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import hold_constant, is_constant
from bessemer.quantize.assign import held

if TYPE_CHECKING:
    import onnx_ir

NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})


@dataclass(frozen=True)
class Site:
    """Products that read one value's channels (its last axis), and the constants that take a factor per channel back.

    given: (node, input, axis) of constants to divide by s.
    """

    value: onnx_ir.Value
    readers: tuple[onnx_ir.Node, ...]
    given: tuple[tuple[onnx_ir.Node, int, int], ...]


def sites(products: Sequence[onnx_ir.Node]) -> list[Site]:
    """Every place where factors fold, in graph order. products: MatMul and Gemm with a constant matrix."""
    return list(_sites(products))


def _sites(products: Sequence[onnx_ir.Node]) -> Iterator[Site]:
    known = set(products)
    seen: set[onnx_ir.Value] = set()
    for node in products:
        value = _origin(node.inputs[0])
        if value is None or value in seen:
            continue
        seen.add(value)
        readers = _readers(value)
        if readers is None or not all(reader in known for reader in readers):
            continue
        given = _given(value)
        if given is not None:
            yield Site(value, tuple(readers), tuple(given))


def _origin(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """Where the channels come from, behind reshapes that keep the last axis."""
    while value is not None and (maker := value.producer()) is not None and _keeps_channels(maker):
        value = maker.inputs[0]
    return value


def _keeps_channels(node: onnx_ir.Node) -> bool:
    if node.op_type != "Reshape" or node.inputs[0] is None:
        return False
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if not before or not after:
        return False
    return isinstance(before[-1], int) and before[-1] == after[-1]


def _readers(value: onnx_ir.Value) -> list[onnx_ir.Node] | None:
    """Products behind `value`; None when anything else reads it."""
    found: list[onnx_ir.Node] = []
    if value.is_graph_output() or encoding_of(value) is not None:
        return None
    for use in value.uses():
        if use.idx == 0 and _keeps_channels(use.node):
            below = _readers(use.node.outputs[0])
            if below is None:
                return None
            found += below
        elif use.idx == 0 and use.node.op_type in ("MatMul", "Gemm"):
            found.append(use.node)
        else:
            return None
    return found


def _given(value: onnx_ir.Value) -> list[tuple[onnx_ir.Node, int, int]] | None:
    """Constants that scale the last axis of `value`; None when there are none."""
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx") or encoding_of(value) is not None:
        return None
    if node.op_type in NORMS:
        return _of_norm(node)
    if node.op_type in ("MatMul", "Gemm"):
        return _of_product(node)
    if node.op_type in ("Mul", "Add"):
        return _of_elementwise(node)
    if node.op_type == "Relu" or _keeps_channels(node):
        return _alone(node.inputs[0])
    return None


def _alone(value: onnx_ir.Value | None) -> list[tuple[onnx_ir.Node, int, int]] | None:
    """Further up, if nobody else reads the value."""
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return _given(value)


def _of_norm(node: onnx_ir.Node) -> list[tuple[onnx_ir.Node, int, int]] | None:
    rank = len(node.inputs[0].shape) if node.inputs[0] is not None and node.inputs[0].shape is not None else 0
    if node.attributes.get_int("axis", -1) not in (-1, rank - 1) or any(out.uses() for out in node.outputs[1:]):
        return None
    gains = [(node, place, 0) for place, item in enumerate(node.inputs) if place and item is not None]
    return gains if gains and all(_vector(node.inputs[place]) for _, place, _ in gains) else None


def _of_product(node: onnx_ir.Node) -> list[tuple[onnx_ir.Node, int, int]] | None:
    weight = node.inputs[1]
    if not _is_float(weight) or weight is None or weight.shape is None or len(weight.shape) != 2:
        return None
    turned = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
    found = [(node, 1, 0 if turned else 1)]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return found
    return [*found, (node, 2, 0)] if _vector(bias) else None


def _of_elementwise(node: onnx_ir.Node) -> list[tuple[onnx_ir.Node, int, int]] | None:
    """x g: g alone takes the factor; x + b: b and x do."""
    place = next((index for index, item in enumerate(node.inputs) if _vector(item)), None)
    if place is None:
        return None
    if node.op_type == "Mul":
        width = node.outputs[0].shape
        vector = node.inputs[place]
        full = width is not None and vector is not None and vector.shape is not None and vector.shape[0] == width[-1]
        return [(node, place, 0)] if full else None
    above = _alone(node.inputs[1 - place])
    return None if above is None else [*above, (node, place, 0)]


def _vector(value: onnx_ir.Value | None) -> bool:
    return _is_float(value) and value is not None and value.shape is not None and len(value.shape) == 1


def _is_float(value: onnx_ir.Value | None) -> bool:
    import onnx_ir

    return is_constant(value) and encoding_of(value) is None and value is not None and value.dtype == onnx_ir.DataType.FLOAT


def fold(graph: onnx_ir.Graph, site: Site, factors: Array) -> None:
    """X / s and s W, in place; constants that others read too are given to each by itself."""
    for node, place, axis in site.given:
        _multiply(graph, node, place, axis, 1 / factors)
    for reader in site.readers:
        _multiply(graph, reader, 1, input_axis(reader), factors)


def input_axis(node: onnx_ir.Node) -> int:
    """The axis of a product's matrix that is summed."""
    return int(node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1)


def _multiply(graph: onnx_ir.Graph, node: onnx_ir.Node, place: int, axis: int, factors: Array) -> None:
    """The product of a constant and factors along `axis`, computed when it is read: weights are not held twice."""
    import onnx_ir

    old = node.inputs[place]
    tensor = None if old is None else old.const_value
    if old is None or tensor is None:
        raise ValueError(f"{node.name} has no constant as input {place}")
    shape = list(tensor.shape.numpy())
    spread = [1] * len(shape)
    spread[axis] = factors.size
    shape[axis] = factors.size
    wide = factors.reshape(spread).astype(np.float32)
    scaled = onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(tensor.numpy() * wide),
        dtype=onnx_ir.DataType.FLOAT,
        shape=onnx_ir.Shape(shape),
        cache=False,
    )
    node.replace_input_with(place, hold_constant(graph, scaled, f"{old.name}_scaled"))
    if not old.uses() and old.name is not None and not old.is_graph_output():
        graph.initializers.pop(old.name, None)


def input_weights(node: onnx_ir.Node) -> Array:
    """A product's matrix as (inputs, outputs)."""
    value = node.inputs[1]
    if value is None:
        raise ValueError(f"{node.name} has no weight")
    matrix = held(value)
    return matrix.T if input_axis(node) else matrix
