"""Tensors whose pixels SpaceToBatchND dealt out over the batch: a convolution of them is a dilated one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bessemer.ir.types import Perm
from bessemer.sources.channels_last import shaping
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.ops.common import bound

Margins = tuple[tuple[int, int], ...]
"""Before and after, one pair per axis that is dealt out."""


class Batched(Ordered):
    """SpaceToBatchND of a tensor that is not drawn yet; drawn so only where somebody asks for its value.

    make: draws that tensor, `margins` (or others) being added to its source. whole: its shape with `margins`. source: what
    the margins are added to, where nothing else is done to it. A
    convolution without padding and of stride one over the dealt pixels is one of that tensor with dilations `block`, and
    to cut its results' borders afterwards is to add less to its source.
    """

    def __init__(
        self, name: str, make: Callable[[Margins], Ordered], margins: Margins, block: Sequence[int],
        whole: tuple[Dim, ...], dtype: object,
    ) -> None:  # fmt: skip
        self.make, self.margins, self.block, self.whole = make, margins, tuple(block), whole
        self.source: Ordered | None = None
        sizes = _dealt(whole, block)
        batch = whole[0] * math.prod(block) if isinstance(whole[0], int) else None
        super().__init__(name, (batch, *sizes, *whole[1 + len(block) :]), dtype)

    def draw(self, canvas: Canvas, wanted: Perm) -> None:
        """The value, in the tensor's own order."""
        self.orders[self.made] = canvas.at(dealt_out(canvas, self.make(self.margins), self.block))

    def gathered(self, canvas: Canvas, crops: Margins) -> Ordered:
        """The tensor itself, less the crops."""
        less = tuple((low - a, high - b) for (low, high), (a, b) in zip(self.margins, crops, strict=True))
        if all(item >= 0 for pair in less for item in pair):
            return self.make(less)
        return cropped(canvas, self.make(self.margins), crops)

    def changed(
        self, make: Callable[[Margins], Ordered], margins: Margins, block: Sequence[int], whole: tuple[Dim, ...]
    ) -> Batched:
        """What an operator makes of it, dealt out just so."""
        return Batched(self.name, make, margins, block, whole, self.dtype)


def _dealt(whole: Sequence[Dim], block: Sequence[int]) -> list[int]:
    """Sizes of the axes after dealing. Raises Unsupported where they do not divide."""
    found = []
    for dim, by in zip(whole[1:], block, strict=False):
        if not isinstance(dim, int):
            raise Unsupported("dynamic-shape", "an unbound axis is dealt out over the batch", "bind the input's shape")
        if dim % by:
            raise Unsupported("block-size", f"an axis of {dim} does not divide into blocks of {by}")
        found.append(dim // by)
    return found


def dealt_out(canvas: Canvas, tensor: Ordered, block: Sequence[int]) -> Ordered:
    """Blocks of pixels moved to the batch, in the tensor's own order."""
    count, shape = len(block), tensor.shape
    split: list[Dim] = [shape[0]]
    for size, by in zip(_dealt(shape, block), block, strict=True):
        split += [size, by]
    split += shape[1 + count :]
    inner, outer = [2 + 2 * axis for axis in range(count)], [1 + 2 * axis for axis in range(count)]
    order = [*inner, 0, *outer, *range(1 + 2 * count, len(split))]
    moved = shaping.transpose(canvas, shaping.reshape(canvas, tensor, split), order)
    batch = shape[0] * math.prod(block) if isinstance(shape[0], int) else -1
    return shaping.reshape(canvas, moved, (batch, *(split[axis] for axis in order[count + 1 :])))


def gathered(canvas: Canvas, tensor: Ordered, block: Sequence[int]) -> Ordered:
    """Blocks of pixels moved back from the batch."""
    count, shape = len(block), tensor.shape
    sizes = [bound(tensor, 1 + axis) * by for axis, by in enumerate(block)]
    batch = shape[0] // math.prod(block) if isinstance(shape[0], int) else -1
    split = shaping.reshape(canvas, tensor, (*block, batch, *shape[1:]))
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    moved = shaping.transpose(canvas, split, [*order, *range(2 * count + 1, split.rank)])
    back = moved.shape[0] if isinstance(moved.shape[0], int) else -1
    return shaping.reshape(canvas, moved, (back, *sizes, *shape[1 + count :]))


def cropped(canvas: Canvas, tensor: Ordered, crops: Margins) -> Ordered:
    """Without the margins of the axes behind the batch."""
    axes = list(range(1, 1 + len(crops)))
    ends = [bound(tensor, axis) - high for axis, (_, high) in zip(axes, crops, strict=True)]
    return shaping.sliced(canvas, tensor, [low for low, _ in crops], ends, axes)
