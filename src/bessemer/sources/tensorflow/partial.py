"""Integer vectors of which some elements are known before the model runs: shapes with unbound dims, and what is
computed from them.

TensorFlow computes the operand of a reshape from Shape, StridedSlice, Pack and arithmetic. Where the batch is unbound
these chains are no constants, but most of their elements are; `known_dims` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bessemer.sources.channels_last.dims import Dim, product, total

if TYPE_CHECKING:
    from bessemer.sources.drawing import Ordered
    from bessemer.wire.savedmodel.node import Node

Dims = tuple[Dim, ...]
MOST = 64
"""Elements of a vector that is looked at: more are no shape."""


def known_dims(tensor: Ordered) -> Dims | None:
    """Elements of an integer vector or scalar: an int where one is known, the symbol of an unbound dim, or None.

    None altogether where nothing is known.
    """
    if tensor.known is not None:
        held = tensor.known
        if held.dtype.kind not in "iu" or held.ndim > 1 or held.size > MOST:
            return None
        return tuple(int(item) for item in held.reshape(-1))
    return tensor.dims


def derived(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    """What is known of the first result of an integer operator."""
    rule = RULES.get(node.op)
    return rule(node, inputs) if rule is not None else None


def _shape(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    return inputs[0].shape


def _size(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    return (product(inputs[0].shape),)


def _same(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    return known_dims(inputs[0])


def _cast(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    import numpy as np

    whole = np.dtype(node.attrs.get("DstT", np.float32)).kind in "iu"
    return known_dims(inputs[0]) if whole else None


def _pack(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    if any(tensor.rank for tensor in inputs):
        return None
    return tuple((known_dims(tensor) or (None,))[0] for tensor in inputs)


def _concat(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    parts = inputs[1:] if node.op == "Concat" else inputs[:-1]
    found: list[Dim] = []
    for part in parts:
        if part.rank != 1:
            return None
        held = known_dims(part)
        if held is None:
            if not isinstance(part.shape[0], int) or part.shape[0] > MOST:
                return None
            held = (None,) * part.shape[0]
        found += held
    return tuple(found)


def _strided(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    held = known_dims(inputs[0])
    lists = [known_dims(tensor) for tensor in inputs[1:4]]
    if held is None or inputs[0].rank != 1 or any(item is None or len(item) != 1 for item in lists):
        return None
    bounds = [item[0] for item in lists if item is not None]
    begin, end, step = (dim if isinstance(dim, int) else None for dim in bounds)
    masks = {key: int(node.attrs.get(f"{key}_mask", 0)) & 1 for key in ("begin", "end", "shrink_axis")}
    others = int(node.attrs.get("new_axis_mask", 0)) or int(node.attrs.get("ellipsis_mask", 0))
    if others or (begin is None and not masks["begin"]):
        return None
    if masks["shrink_axis"]:
        place = 0 if begin is None or masks["begin"] else begin
        return (held[place],) if -len(held) <= place < len(held) else None
    if step is None or step == 0 or (end is None and not masks["end"]):
        return None
    return held[slice(None if masks["begin"] else begin, None if masks["end"] else end, step)]


def _slice(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    held, begin, size = (known_dims(tensor) for tensor in inputs[:3])
    if held is None or inputs[0].rank != 1 or not begin or not size:
        return None
    start, count = begin[0], size[0]
    if not isinstance(start, int) or not isinstance(count, int) or not 0 <= start <= len(held):
        return None
    return held[start:] if count < 0 else held[start : start + count]


def _gather(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    held, places = known_dims(inputs[0]), known_dims(inputs[1])
    if held is None or places is None or inputs[0].rank != 1:
        return None
    if not all(isinstance(place, int) and 0 <= place < len(held) for place in places):
        return None
    return tuple(held[place] for place in places if isinstance(place, int))


def _prod(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    held = known_dims(inputs[0])
    if held is None or inputs[0].rank != 1 or node.attrs.get("keep_dims"):
        return None
    return (product(held),) if node.op == "Prod" else (total(held),)


def _reshape(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    wanted = inputs[1].known
    return known_dims(inputs[0]) if wanted is not None and wanted.size <= 1 else None


def _binary(node: Node, inputs: Sequence[Ordered]) -> Dims | None:
    left, right = (known_dims(tensor) for tensor in inputs[:2])
    if left is None or right is None or any(tensor.rank > 1 for tensor in inputs):
        return None
    if len(left) != len(right) and 1 not in (len(left), len(right)):
        return None
    count = max(len(left), len(right))
    pairs = [(left[i % len(left)], right[i % len(right)]) for i in range(count)] if left and right else []
    return tuple(ARITHMETIC[node.op](first, second) for first, second in pairs)


def _times(first: Dim, second: Dim) -> Dim:
    return product((first, second))


def _plus(first: Dim, second: Dim) -> Dim:
    return total((first, second))


def _less(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) and isinstance(second, int):
        return first - second
    return first if second == 0 else 0 if isinstance(first, str) and first == second else None


def _over(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) and isinstance(second, int) and second:
        return first // second
    return first if second == 1 else None


def _most(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) and isinstance(second, int):
        return max(first, second)
    if first == second or (isinstance(first, str) and isinstance(second, int) and second <= 0):
        return first  # a dim is never below zero
    return second if isinstance(second, str) and isinstance(first, int) and first <= 0 else None


def _least(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) and isinstance(second, int):
        return min(first, second)
    return first if first == second else None


ARITHMETIC: dict[str, Callable[[Dim, Dim], Dim]] = {
    "Mul": _times, "Add": _plus, "AddV2": _plus, "Sub": _less, "FloorDiv": _over, "Maximum": _most, "Minimum": _least,
}  # fmt: skip

RULES: dict[str, Callable[[Any, Sequence[Any]], Dims | None]] = {
    "Shape": _shape, "Size": _size, "Cast": _cast, "Pack": _pack, "ConcatV2": _concat, "Concat": _concat,
    "StridedSlice": _strided, "Slice": _slice, "GatherV2": _gather, "Gather": _gather, "Prod": _prod, "Sum": _prod,
    "Identity": _same, "Squeeze": _same, "ExpandDims": _same, "Reshape": _reshape, "StopGradient": _same,
    **dict.fromkeys(ARITHMETIC, _binary),
}  # fmt: skip
