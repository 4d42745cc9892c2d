"""LayerNormalization, RMSNormalization, InstanceNormalization and GroupNormalization from means and roots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import weight_of
from bessemer.ir.types import Array
from bessemer.passes.fuse.match import Fusion, fuses, is_float32, maker, number, other, rank_of, sole_user
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir

VECTOR = 1 << 20
"""Elements of a scale or a bias, at most."""


@dataclass(frozen=True)
class Spread:
    """sqrt(mean(d^2) + epsilon): d is x, or x less its mean.

    root: the node that ends it; inverted: it gives the reciprocal; nodes: all of them, root included.
    """

    x: onnx_ir.Value
    centred: onnx_ir.Value
    axes: tuple[int, ...]
    epsilon: float
    root: onnx_ir.Node
    inverted: bool
    nodes: tuple[onnx_ir.Node, ...]
    mean: onnx_ir.Value | None = None


@fuses("Sqrt", "Pow")
def normalization(node: onnx_ir.Node) -> Fusion | str | None:
    """d / sqrt(mean(d^2) + epsilon), and the constant scale and bias that follow."""
    spread = _spread(node)
    if spread is None:
        return None
    spread = _inverse(spread)
    return _standardized(spread) or _folded(spread)


def _spread(node: onnx_ir.Node) -> Spread | None:
    """What ends in Sqrt or in Pow by plus or minus one half."""
    power = 0.5 if node.op_type == "Sqrt" else number(node.inputs[1], rank_of(node.inputs[0]) or 0)
    added = maker(node.inputs[0], "Add")
    if power not in (0.5, -0.5) or added is None:
        return None
    rank = rank_of(added.outputs[0]) or 0
    numbers = [number(value, rank) for value in added.inputs]
    places = [place for place in (0, 1) if numbers[place] is not None]
    if len(places) != 1:
        return None
    epsilon, variance = numbers[places[0]], added.inputs[1 - places[0]]
    reduced = maker(variance, "ReduceMean")
    squared = maker(reduced.inputs[0], "Mul", "Pow") if reduced is not None else None
    if reduced is None or squared is None or epsilon is None or epsilon < 0:
        return None
    centred, axes = _squared(squared), _axes(reduced)
    if centred is None or axes is None or not is_float32(centred):
        return None
    nodes: tuple[onnx_ir.Node, ...] = (squared, reduced, added, node)
    less = maker(centred, "Sub")
    mean = maker(less.inputs[1], "ReduceMean") if less is not None else None
    if less is None or mean is None or mean.inputs[0] is not less.inputs[0] or _axes(mean) != axes:
        return Spread(centred, centred, axes, epsilon, node, power < 0, nodes)
    x = less.inputs[0]
    nodes = (mean, less, *nodes)
    return None if x is None else Spread(x, centred, axes, epsilon, node, power < 0, nodes, mean.outputs[0])


def _squared(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """What `node` squares."""
    first, second = node.inputs[0], node.inputs[1]
    if node.op_type == "Mul":
        return first if first is second else None
    return first if number(second, rank_of(first) or 0) == 2.0 else None


def _axes(node: onnx_ir.Node) -> tuple[int, ...] | None:
    """The constant axes of a mean that keeps them, rising and from zero."""
    rank = rank_of(node.inputs[0])
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if not rank or given is None or not given.size or not node.attributes.get_int("keepdims", 1):
        return None
    return tuple(sorted(int(axis) % rank for axis in given.reshape(-1)))


def _inverse(spread: Spread) -> Spread:
    """The same with the reciprocal that follows, if one does."""
    result = spread.root.outputs[0]
    node = sole_user(result, "Reciprocal", "Div")
    if spread.inverted or node is None:
        return spread
    if node.op_type == "Div" and (
        node.inputs[1] is not result or number(node.inputs[0], rank_of(result) or 0) != 1.0
    ):
        return spread
    nodes = (*spread.nodes, node)
    return Spread(spread.x, spread.centred, spread.axes, spread.epsilon, node, True, nodes, spread.mean)


def _standardized(spread: Spread) -> Fusion | str | None:
    """d times or over the root, then the scale and the bias as far as they fit."""
    result = spread.root.outputs[0]
    unit = sole_user(result, "Mul" if spread.inverted else "Div")
    if unit is None or other(unit, result) is not spread.centred:
        return None
    if not spread.inverted and unit.inputs[1] is not result:
        return None
    return _affine(spread, [*spread.nodes, unit])


def _affine(spread: Spread, nodes: list[onnx_ir.Node]) -> Fusion | str | None:
    scale, scaled = _vector_after(nodes[-1].outputs[0], "Mul")
    bias, moved = (None, None) if scaled is None else _vector_after(scaled.outputs[0], "Add")
    fitted = _fit(spread, scale, bias)
    if isinstance(fitted, str):
        return f"'{spread.root.name}': {fitted}"
    kept = [
        node
        for node, fit in ((scaled, fitted.scale), (moved, fitted.bias))
        if node is not None and fit is not None
    ]
    path = [*nodes, *kept]
    return _fusion(spread, path[-1], path, fitted)


@dataclass(frozen=True)
class Fitted:
    """The operator, and the scale and the bias in its shape; None where they stay outside."""

    op: str
    shape: tuple[int, ...]
    scale: Array | None = None
    bias: Array | None = None


def _fit(spread: Spread, scale: Array | None, bias: Array | None) -> Fitted | str:
    """Which operator takes these axes and vectors; a string says why none does."""
    shape = spread.x.shape
    rank = rank_of(spread.x) or 0
    tuple(dim for dim in shape if isinstance(dim, int)) if shape is not None else ()
    last = tuple(range(rank - len(spread.axes), rank))
    if shape is None or not all(isinstance(shape[axis], int) for axis in spread.axes):
        return "the size of the axes it normalizes is unknown"
    normalized = tuple(size for axis in spread.axes if isinstance(size := shape[axis], int))
    centred, channels = spread.mean is not None, shape[1] if rank > 2 else None
    if centred and scale is not None and spread.axes == tuple(range(2, rank)) and isinstance(channels, int):
        column = (channels,) + (1,) * (rank - 2)
        if _trimmed(scale, rank) == column:
            fits = bias is not None and _trimmed(bias, rank) == column
            flat = bias.reshape(-1) if bias is not None and fits else None
            return Fitted("InstanceNormalization", (channels,), scale.reshape(-1), flat)
    if spread.axes != last:
        return f"it normalizes axes {list(spread.axes)} of {rank}, the operator takes the last ones"
    op = "LayerNormalization" if centred else "RMSNormalization"
    if scale is None or _trimmed(scale, rank, len(normalized)) != normalized:
        return Fitted(op, normalized)
    fits = centred and bias is not None and _trimmed(bias, rank, len(normalized)) == normalized
    return Fitted(
        op,
        normalized,
        scale.reshape(normalized),
        bias.reshape(normalized) if bias is not None and fits else None,
    )


def _trimmed(array: Array, rank: int, least: int = 0) -> tuple[int, ...] | None:
    """The shape without leading ones, of `least` axes at least; None when it adds axes to data of `rank`."""
    if array.ndim > rank:
        return None
    shape = tuple(array.shape)
    while len(shape) > least and shape[0] == 1:
        shape = shape[1:]
    return shape


def _fusion(spread: Spread, last: onnx_ir.Node, nodes: list[onnx_ir.Node], fitted: Fitted) -> Fusion:
    scale = np.ones(fitted.shape, np.float32) if fitted.scale is None else fitted.scale
    inputs: list[onnx_ir.Value | Array | None] = [spread.x, scale]
    attributes: dict[str, float | int] = {"epsilon": spread.epsilon}
    if fitted.bias is not None or fitted.op == "InstanceNormalization":
        inputs.append(np.zeros(fitted.shape, np.float32) if fitted.bias is None else fitted.bias)
    if fitted.op != "InstanceNormalization":
        attributes["axis"] = -len(fitted.shape)
    return Fusion(fitted.op, last, inputs, nodes, attributes)


def _vector_after(value: onnx_ir.Value, op: str) -> tuple[Array | None, onnx_ir.Node | None]:
    """The float constant that the only reader of `value` multiplies it with, or adds."""
    node = sole_user(value, op)
    array = _vector(other(node, value)) if node is not None else None
    return (array, node) if array is not None else (None, None)


def _vector(value: onnx_ir.Value | None) -> Array | None:
    if value is None or weight_of(value) is not None:
        return None
    array = constant(value, limit=VECTOR)
    return array if array is not None and array.dtype == np.float32 else None


def _folded(spread: Spread) -> Fusion | str | None:
    """TensorFlow's order: x k + (bias - mean k), where k is the scale over the root."""
    if spread.mean is None or not spread.inverted:
        return None
    factor, scale = spread.root, None
    array, scaled = _vector_after(spread.root.outputs[0], "Mul")
    if scaled is not None:
        factor, scale = scaled, array
    k = factor.outputs[0]
    products = [user for user, _ in k.uses() if user.op_type == "Mul"]
    of_x = [node for node in products if other(node, k) is spread.x]
    of_mean = [node for node in products if other(node, k) is spread.mean]
    if len(products) != 2 or len(of_x) != 1 or len(of_mean) != 1:
        return None
    offset, total = sole_user(of_mean[0].outputs[0], "Sub"), sole_user(of_x[0].outputs[0], "Add", "Sub")
    if offset is None or total is None:
        return None
    bias = _vector(offset.inputs[0])
    if bias is None or total.op_type != "Add" or other(total, of_x[0].outputs[0]) is not offset.outputs[0]:
        return None
    nodes = [*spread.nodes, factor, *of_x, *of_mean, offset]
    unscaled = np.ones(bias.shape, np.float32)
    fitted = _fit(spread, unscaled if scale is None else scale, bias)
    if isinstance(fitted, str):
        return f"'{spread.root.name}': {fitted}"
    if fitted.scale is None or fitted.bias is None:
        return f"'{spread.root.name}': its scale and bias have other shapes than the axes it normalizes"
    return _fusion(spread, total, [*nodes, total], fitted)


@fuses("InstanceNormalization", "LayerNormalization")
def group_normalization(node: onnx_ir.Node) -> Fusion | str | None:
    """Groups made channels by a Reshape, normalized, reshaped back, then scaled per channel."""
    before = maker(node.inputs[0], "Reshape")
    after = sole_user(node.outputs[0], "Reshape") if len(node.outputs) == 1 else None
    if before is None or after is None or not is_float32(before.inputs[0]):
        return None
    x, groups = before.inputs[0], _groups(node)
    shape = x.shape if x is not None else None
    if x is None or shape is None or groups is None or len(shape) < 3:
        return None
    channels, rank = shape[1], len(shape)
    if not isinstance(channels, int) or channels % groups or not _back(x, before, after):
        return None
    scale, scaled = _vector_after(after.outputs[0], "Mul")
    column = (channels,) + (1,) * (rank - 2)
    if scale is None or scaled is None or _trimmed(scale, rank) != column:
        return None
    bias, moved = _vector_after(scaled.outputs[0], "Add")
    nodes, last = [before, node, after, scaled], scaled
    if bias is None or moved is None or _trimmed(bias, rank) != column:
        bias = np.zeros(channels, np.float32)
    else:
        last = moved
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    attributes = {"num_groups": groups, "epsilon": epsilon}
    return Fusion("GroupNormalization", last, [x, scale.reshape(-1), bias.reshape(-1)], nodes, attributes)


def _groups(node: onnx_ir.Node) -> int | None:
    """Size of axis 1, when the node standardizes all axes after it and does nothing else."""
    source = node.inputs[0]
    shape = source.shape if source is not None else None
    vectors = [constant(value, limit=VECTOR) for value in node.inputs[1:]]
    if shape is None or len(shape) < 3 or any(array is None for array in vectors):
        return None
    axis = node.attributes.get_int("axis", -1) or 0
    if node.op_type == "LayerNormalization" and axis % len(shape) != 2:
        return None
    neutral = all(
        array is not None and np.all(array == fill) for array, fill in zip(vectors, (1, 0), strict=False)
    )
    groups = shape[1]
    return groups if neutral and isinstance(groups, int) else None


def _back(x: onnx_ir.Value, before: onnx_ir.Node, after: onnx_ir.Node) -> bool:
    """Whether the first Reshape keeps the batch and the second one restores the shape of `x`."""
    target, shape = constant(before.inputs[1]), before.outputs[0].shape
    if x.shape is None or shape is None:
        return False
    zero = target is not None and int(target[0]) == 0 and not before.attributes.get_int("allowzero", 0)
    if not zero and (not isinstance(shape[0], int) or shape[0] != x.shape[0]):
        return False
    asked = maker(after.inputs[1], "Shape")
    whole = asked is not None and asked.inputs[0] is x and not asked.attributes
    known = dims(x)
    return whole or (known is not None and known == dims(after.outputs[0])) or _symbolic(x, after)


def _symbolic(x: onnx_ir.Value, after: onnx_ir.Node) -> bool:
    """With one unknown axis and a target that names all others, the rest of the elements is that axis."""
    target, shape = constant(after.inputs[1]), x.shape
    if target is None or shape is None or target.size != len(shape):
        return False
    asked = [int(size) for size in target]
    fits = [
        size == dim or (size == 0 and axis == 0)
        for axis, (size, dim) in enumerate(zip(asked, shape, strict=True))
    ]
    open_axes = [axis for axis, size in enumerate(asked) if size == -1 and not isinstance(shape[axis], int)]
    return sum(fits) == len(fits) or (sum(fits) == len(fits) - 1 and len(open_axes) == 1)
