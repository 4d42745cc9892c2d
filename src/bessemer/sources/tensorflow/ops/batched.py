"""Tensors whose pixels SpaceToBatchND dealt out over the batch: a convolution of them is a dilated one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bessemer.sources.channels_last import shaping
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


class Batched(Ordered):
    """SpaceToBatchND of `inner` by `block`, without margins; drawn only where somebody asks for its value.

    A convolution without padding and of stride one over it is one of `inner` with dilations `block`, dealt out again.
    """

    def __init__(self, inner: Ordered, block: Sequence[int]) -> None:
        self.inner, self.block = inner, tuple(block)
        sizes = inner.static[1 : 1 + len(block)]
        if any(size % by for size, by in zip(sizes, block, strict=True)):
            raise Unsupported("block-size", f"axes of {list(sizes)} do not divide into blocks of {list(block)}")
        batch = inner.shape[0]
        dealt = batch * math.prod(block) if isinstance(batch, int) else None
        halves = tuple(size // by for size, by in zip(sizes, block, strict=True))
        super().__init__(inner.name, (dealt, *halves, *inner.shape[1 + len(block) :]), inner.dtype)

    def draw(self, canvas: Canvas) -> None:
        """The value, in the tensor's own order."""
        self.orders[self.made] = canvas.at(dealt_out(canvas, self.inner, self.block))


def dealt_out(canvas: Canvas, tensor: Ordered, block: Sequence[int]) -> Ordered:
    """Blocks of pixels moved to the batch, in the tensor's own order."""
    count, shape = len(block), tensor.shape
    split = [shape[0]]
    for axis, by in enumerate(block):
        split += [tensor.static[1 + axis] // by if None not in shape else _part(shape[1 + axis], by), by]
    split += shape[1 + count :]
    inner, outer = [2 + 2 * axis for axis in range(count)], [1 + 2 * axis for axis in range(count)]
    order = [*inner, 0, *outer, *range(1 + 2 * count, len(split))]
    moved = shaping.transpose(canvas, shaping.reshape(canvas, tensor, split), order)
    dealt = shape[0] * math.prod(block) if isinstance(shape[0], int) else -1
    return shaping.reshape(canvas, moved, (dealt, *(split[axis] for axis in order[count + 1 :])))


def _part(dim: int | str | None, by: int) -> int:
    if not isinstance(dim, int):
        raise Unsupported("dynamic-shape", "an unbound axis is dealt out over the batch")
    return dim // by


def gathered(canvas: Canvas, tensor: Ordered, block: Sequence[int]) -> Ordered:
    """Blocks of pixels moved back from the batch."""
    count, shape = len(block), tensor.shape
    by = math.prod(block)
    batch = shape[0] // by if isinstance(shape[0], int) else -1
    split = shaping.reshape(canvas, tensor, (*block, batch, *shape[1:]))
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    moved = shaping.transpose(canvas, split, [*order, *range(2 * count + 1, split.rank)])
    sizes = []
    for axis, times in enumerate(block):
        size = shape[1 + axis]
        if not isinstance(size, int):
            raise Unsupported("dynamic-shape", "an unbound axis is gathered from the batch")
        sizes.append(size * times)
    return shaping.reshape(canvas, moved, (moved.shape[0], *sizes, *shape[1 + count :]))
