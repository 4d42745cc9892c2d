"""Layers that merge several tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import int64s
from bessemer.runners.keras.layer import Layer
from bessemer.sources.channels_last.dims import broadcast
from bessemer.sources.channels_last.elementwise import applied, chosen, compared, number
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.normalization import unit_norm
from bessemer.sources.channels_last.shaping import concat, expand_dims, reshape, squeeze
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer

OPERATORS = {
    "Add": "Add", "Multiply": "Mul", "Maximum": "Max", "Minimum": "Min", "Subtract": "Sub", "Average": "Add",
}  # fmt: skip
MODES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "min": "Minimum", "sub": "Subtract"}
"""Keras 1's modes of `Merge`, as the layers that they became."""


@layer(*OPERATORS)
def merge(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Element by element; tensors of lower rank get axes behind the batch. Keras 3 leaves masked steps out."""
    masks = layer.call.get("mask")
    if layer.generation == 3 and isinstance(masks, list) and layer.kind in ("Multiply", "Maximum", "Minimum"):
        found = [None if mask is None else expand_dims(canvas, mask, [2]) for mask in masks]
        return (_product if layer.kind == "Multiply" else _extreme)(canvas, layer.kind, inputs, found)
    return merged(canvas, layer.kind, inputs)


def _extreme(canvas: Canvas, kind: str, inputs: Sequence[Ordered], masks: Sequence[Ordered | None]) -> Ordered:
    """A masked step of one tensor counts as what the tensors before it have there, and the other way round."""
    made, held = inputs[0], masks[0]
    for tensor, mask in zip(inputs[1:], masks[1:], strict=True):
        other = tensor if mask is None else chosen(canvas, mask, tensor, made)
        made = made if held is None else chosen(canvas, held, made, other)
        held = None if held is None or mask is None else compared(canvas, "Or", held, mask)
        made = applied(canvas, OPERATORS[kind], made, other)
    return made


def _product(canvas: Canvas, kind: str, inputs: Sequence[Ordered], masks: Sequence[Ordered | None]) -> Ordered:
    """Masked steps count as 1; those masked everywhere give 0."""
    one, nothing = (number(canvas, item, inputs[0]) for item in (1.0, 0.0))
    made = merged(canvas, kind, [
        tensor if mask is None else chosen(canvas, mask, tensor, one) for tensor, mask in zip(inputs, masks, strict=True)
    ])  # fmt: skip
    first, *rest = masks
    for mask in rest:
        first = None if first is None or mask is None else compared(canvas, "Or", first, mask)
    return made if first is None else chosen(canvas, first, made, nothing)


def merged(canvas: Canvas, kind: str, inputs: Sequence[Ordered]) -> Ordered:
    """The merge layer `kind` of two tensors or more (one passes)."""
    rank = max(tensor.rank for tensor in inputs)
    made, *others = [_raised(canvas, tensor, rank) for tensor in inputs]
    for tensor in others:
        made = applied(canvas, OPERATORS[kind], made, tensor)
    if kind == "Average" and len(inputs) > 1:
        made = applied(canvas, "Mul", made, number(canvas, 1 / len(inputs), made))
    return made


def _raised(canvas: Canvas, tensor: Ordered, rank: int) -> Ordered:
    missing = rank - tensor.rank
    if not missing:
        return tensor
    shape = (tensor.shape[0], *(1,) * missing, *tensor.shape[1:])
    made = canvas.emit("Unsqueeze", [canvas.at(tensor), canvas.literal(int64s(range(1, 1 + missing)), "axes")])
    return canvas.result(made, shape)


@layer("Concatenate")
def concatenate(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Along one axis."""
    return concat(canvas, inputs, int(layer.config.get("axis", -1)))


@layer("Dot")
def dot(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Sums of products along one axis of each, per example; normalized: of vectors of length one."""
    return batch_dot(canvas, layer, inputs, layer.config["axes"], bool(layer.config.get("normalize", False)))


def batch_dot(
    canvas: Canvas, layer: Layer, inputs: Sequence[Ordered], axes: int | Sequence[int], normalize: bool
) -> Ordered:
    """What is left of the first tensor's axes, then what is left of the second's."""
    pair = [axes, axes] if isinstance(axes, int) else list(axes)
    left, right = (floats(canvas, tensor) for tensor in inputs)
    first, second = pair[0] % left.rank, pair[1] % right.rank
    if not first or not second:
        raise Unsupported("dot-axes", "a dot product over the batch axis")
    if normalize:
        floor = 1e-14 if layer.generation >= 3 else 1e-12
        left = unit_norm(canvas, left, axes=[first], epsilon=floor)
        right = unit_norm(canvas, right, axes=[second], epsilon=floor)
    rows = canvas.renamed(left, (*(axis for axis in range(left.rank) if axis != first), first))
    order = (0, second, *(axis for axis in range(1, right.rank) if axis != second))
    columns = canvas.renamed(right, order)
    return _products(canvas, rows, columns)


def _products(canvas: Canvas, rows: Ordered, columns: Ordered) -> Ordered:
    """(batch, *a, depth) by (batch, depth, *b), any of a and b left out."""
    batch, depth = rows.shape[0], rows.shape[-1]
    ahead, behind = rows.shape[1:-1], columns.shape[2:]
    left = rows if rows.rank == 3 else reshape(canvas, rows, (batch, _count(ahead), depth))
    right = columns if columns.rank == 3 else reshape(canvas, columns, (batch, depth, _count(behind)))
    product = matmul(canvas, left, right)
    if not ahead and not behind:
        return squeeze(canvas, product, [1])
    if len(ahead) <= 1 and len(behind) <= 1:
        gone = [axis for axis, dims in ((1, ahead), (2, behind)) if not dims]
        return squeeze(canvas, product, gone) if gone else product
    return reshape(canvas, product, (broadcast(rows.shape[:1], columns.shape[:1])[0], *ahead, *behind))


def _count(dims: Sequence[int | str | None]) -> int | None:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return int(np.prod(sizes, dtype=np.int64)) if len(sizes) == len(dims) else None


@layer("CustomScaleLayer", "Custom>CustomScaleLayer")
def scaled_sum(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Inception-ResNet's (`keras.applications.inception_resnet_v2`): a + scale * b."""
    left, right = inputs
    scaled = applied(canvas, "Mul", right, number(canvas, float(layer.config["scale"]), right))
    return applied(canvas, "Add", left, scaled)


@layer("Merge")
def merge_by_mode(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Keras 1's one layer for all merges."""
    mode, config = layer.config.get("mode", "sum"), layer.config
    if mode in MODES:
        return merged(canvas, MODES[mode], inputs)
    if mode == "concat":
        return concat(canvas, inputs, int(config.get("concat_axis", -1)))
    if mode in ("dot", "cos"):
        made = batch_dot(canvas, layer, inputs, config.get("dot_axes", -1), mode == "cos")
        return expand_dims(canvas, made, [1]) if mode == "cos" else made
    raise Unsupported("merge-mode", f"the merge mode {mode!r} is not known", "use a merge layer")
