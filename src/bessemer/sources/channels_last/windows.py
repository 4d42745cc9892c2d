"""Windows over the spatial axes of a tensor: where they are, how they are padded, how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bessemer.ir.layout import channels_first, identity
from bessemer.ir.types import Perm, Shape
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

if TYPE_CHECKING:
    import onnx_ir

Pairs = tuple[tuple[int, int], ...]
"""Before and after, one pair per spatial axis."""


def same_pads(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: the output is ceil(size / stride), the odd pixel goes to the end."""
    reach = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def order_of(rank: int, first: bool) -> Perm:
    """The order in which window operators want a tensor: channels behind the batch."""
    return identity(rank) if first else channels_first(rank)


def spatial_axes(rank: int, first: bool) -> tuple[int, ...]:
    """Axes between batch and channels, in the original's order."""
    return tuple(range(2, rank)) if first else tuple(range(1, rank - 1))


def channel_axis(rank: int, first: bool) -> int:
    """The axis of the channels, in the original's order."""
    return 1 if first else rank - 1


def channels(tensor: Ordered, first: bool) -> int:
    """How many channels there are; raises Unsupported where that is unbound."""
    count = tensor.shape[channel_axis(tensor.rank, first)]
    if not isinstance(count, int):
        raise Unsupported("dynamic-shape", f"tensor '{tensor.name}' has an unbound number of channels")
    return count


def spatial(tensor: Ordered, first: bool) -> tuple[Dim, ...]:
    """Sizes of the spatial axes."""
    return tuple(tensor.shape[axis] for axis in spatial_axes(tensor.rank, first))


def placed(batch: Dim, sizes: Sequence[Dim], depth: Dim, first: bool) -> Shape:
    """A shape in the original's order."""
    return (batch, depth, *sizes) if first else (batch, *sizes, depth)


@dataclass(frozen=True)
class Window:
    """Kernel sizes, strides and dilations per spatial axis.

    padding: 'valid', 'same' (TensorFlow's), 'causal' (all of it before), or explicit pairs.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str | Pairs = "valid"

    @staticmethod
    def of(
        kernel: Sequence[int],
        strides: Sequence[int] | int = 1,
        dilations: Sequence[int] | int = 1,
        padding: str | Sequence[Sequence[int]] = "valid",
    ) -> Window:
        """Single numbers hold for every axis; `padding` in any case. Raises Unsupported for a padding nobody knows."""
        count = len(kernel)
        steps = (strides,) * count if isinstance(strides, int) else tuple(map(int, strides))
        gaps = (dilations,) * count if isinstance(dilations, int) else tuple(map(int, dilations))
        if not isinstance(padding, str):
            return Window(tuple(kernel), steps, gaps, tuple((int(low), int(high)) for low, high in padding))
        if padding.lower() not in ("valid", "same", "causal"):
            raise Unsupported("padding", f"the padding '{padding}' is none of valid, same and causal")
        return Window(tuple(kernel), steps, gaps, padding.lower())

    @property
    def reach(self) -> tuple[int, ...]:
        """How far a window reaches along each axis."""
        return tuple((size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations, strict=True))

    def pairs(self, sizes: Sequence[Dim]) -> Pairs | None:
        """Padding per axis; None where it depends on a size that is unbound.

        Raises Unsupported where it does and windows step over pixels: runtimes take that padding for a negative one.
        """
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return ((0, 0),) * len(self.kernel)
        if self.padding == "causal":
            return tuple((reach - 1, 0) for reach in self.reach)
        found = [self._same(axis, size) for axis, size in enumerate(sizes)]
        if None not in found:
            return tuple(pair for pair in found if pair is not None)
        if any(stride > reach for stride, reach in zip(self.strides, self.reach, strict=True)):
            raise Unsupported(
                "dynamic-shape", f"padding over unbound axes of windows of {self.reach} that step {self.strides}",
                "bind their sizes",
            )  # fmt: skip
        return None

    def _same(self, axis: int, size: Dim) -> tuple[int, int] | None:
        window, stride, dilation = self.kernel[axis], self.strides[axis], self.dilations[axis]
        if isinstance(size, int):
            return same_pads(size, window, stride, dilation)
        if self.reach[axis] <= 2:  # no padding before, and one more behind than needed makes no further window
            return 0, self.reach[axis] - 1
        return same_pads(1, window, 1, dilation) if stride == 1 else None

    def attributes(self, sizes: Sequence[Dim]) -> dict[str, Any]:
        """Attributes of a Conv or a pooling node over axes of these sizes (`dilations` left out where they are one)."""
        held: dict[str, Any] = {"kernel_shape": list(self.kernel), "strides": list(self.strides)}
        if any(gap != 1 for gap in self.dilations):
            held["dilations"] = list(self.dilations)
        pairs = self.pairs(sizes)
        if pairs is None:
            self._refuse_automatic()
            return held | {"auto_pad": "SAME_UPPER"}
        pads = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
        return held | ({"pads": pads} if any(pads) else {})

    def _refuse_automatic(self) -> None:
        """Runtimes that work out SAME themselves do so for windows without gaps, which are not shorter than a stride."""
        short = any(reach < stride for reach, stride in zip(self.reach, self.strides, strict=True))
        if short or any(gap != 1 for gap in self.dilations):
            reason = "SAME padding of an unbound axis for windows with gaps between or inside them"
            raise Unsupported("dynamic-shape", reason, "bind the input's shape")

    def output(self, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
        """How many windows there are along each axis; None where the size is unbound (a stride of one keeps its name)."""
        pairs = self.pairs(sizes)
        return tuple(
            self._count(axis, size, None if pairs is None else pairs[axis]) for axis, size in enumerate(sizes)
        )

    def _count(self, axis: int, size: Dim, pair: tuple[int, int] | None) -> Dim:
        stride, reach = self.strides[axis], self.reach[axis]
        if self.padding == "same" and isinstance(size, int):
            return -(-size // stride)
        if not isinstance(size, int):
            keeps = stride == 1 and pair is not None and sum(pair) == reach - 1
            return size if keeps else None
        total = size + sum(pair or (0, 0))
        if total < reach:
            raise Unsupported("window-size", f"a window of {reach} does not fit into an axis of {total}")
        return (total - reach) // stride + 1


def transposed_sizes(
    sizes: Sequence[Dim], window: Window, output_padding: Sequence[int | None] | None
) -> tuple[Dim, ...]:
    """Keras's sizes of a transposed convolution (`deconv_output_length`)."""
    extra = output_padding if output_padding is not None else [None] * len(window.kernel)
    return tuple(
        _transposed_size(size, reach, stride, window.padding == "same", more)
        for size, reach, stride, more in zip(sizes, window.reach, window.strides, extra, strict=True)
    )


def _transposed_size(size: Dim, reach: int, stride: int, same: bool, more: int | None) -> Dim:
    if not isinstance(size, int):
        return None
    if more is None:
        return size * stride if same else size * stride + max(reach - stride, 0)
    return (size - 1) * stride + reach - (2 * (reach // 2) if same else 0) + more


def transposed_pads(size: int, result: int, axis: int, window: Window) -> tuple[tuple[int, int], int]:
    """Crops and output padding along one axis for which a transposed convolution is the gradient that TensorFlow takes.

    Raises Unsupported where no forward convolution of `result` gives `size`.
    """
    kernel, stride, dilation = window.kernel[axis], window.strides[axis], window.dilations[axis]
    pair = (0, 0)
    if not isinstance(window.padding, str):
        pair = window.padding[axis]
    elif window.padding == "same":
        pair = same_pads(result, kernel, stride, dilation)
    extra = result - ((size - 1) * stride + window.reach[axis] - sum(pair))
    if extra < 0:
        raise Unsupported("conv-shape", f"output size {result} is smaller than an input of {size} implies")
    return pair, extra


def operands(*items: onnx_ir.Value | None) -> list[Any]:
    """Operands of a node, absent ones at the end dropped."""
    kept: list[Any] = list(items)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def optional(canvas: Canvas, tensor: Ordered | None) -> Any:
    """The tensor as a value, or None."""
    return None if tensor is None else canvas.at(tensor)
