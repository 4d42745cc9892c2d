"""Sliding windows: padding as TFLite says it, and 1-D data as 2-D with a height of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.layout import channels_first
from bessemer.targets.tflite.builder import Dims
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import value

if TYPE_CHECKING:
    import onnx_ir as ir

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Window:
    """Geometry over the spatial axes. `before` and `after` are explicit pads; None where they depend on
    unknown sizes.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    same: bool
    """Whether these pads are exactly what TFLite computes for SAME."""

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.before) or any(self.after)


def window(ctx: Context, node: ir.Node, kernel: Sequence[int], *, ceil: bool = False) -> Window:
    """The geometry of a Conv or Pool node. Raises Blocked where it depends on sizes unknown until run
    time.
    """
    count = len(kernel)
    attributes = node.attributes
    strides = tuple(attributes.get_ints("strides", [1] * count))
    dilations = tuple(attributes.get_ints("dilations", [1] * count))
    sizes = ctx.shape(value(node, 0))[2:]
    auto = attributes.get_string("auto_pad", "NOTSET")
    pads = list(attributes.get_ints("pads", [0] * 2 * count))
    if any(pad < 0 for pad in pads):
        raise Blocked("negative-pads", "negative pads", "slice the input first")
    axes: list[tuple[int, int, bool]] = []
    for i in range(count):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            axes.append(_auto(auto, sizes[i], strides[i], reach))
        elif auto == "VALID":
            axes.append((0, 0, False))
        else:
            extra = (
                _ceil_extra(sizes[i], pads[i] + pads[count + i], strides[i], reach, pads[i]) if ceil else 0
            )
            after = pads[count + i] + extra
            axes.append((pads[i], after, _is_same(sizes[i], strides[i], reach, pads[i], after)))
    before, after_all = tuple(a for a, _, _ in axes), tuple(b for _, b, _ in axes)
    return Window(tuple(kernel), strides, dilations, before, after_all, all(same for _, _, same in axes))


def _auto(mode: str, size: int | None, stride: int, reach: int) -> tuple[int, int, bool]:
    if size is None:
        if mode == "SAME_UPPER":
            return (-1, -1, True)
        raise Blocked(
            "dynamic-padding", "SAME_LOWER padding of an unknown size", "bind the dimension with --shape"
        )
    total = same_total(size, stride, reach)
    small, large = total // 2, total - total // 2
    before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    return (before, after, before == small)


def same_total(size: int, stride: int, reach: int) -> int:
    """Total padding of SAME."""
    return max((-(-size // stride) - 1) * stride + reach - size, 0)


def _is_same(size: int | None, stride: int, reach: int, before: int, after: int) -> bool:
    if size is None:
        return stride == 1 and before + after == reach - 1 and before == (reach - 1) // 2
    total = same_total(size, stride, reach)
    return before == total // 2 and before + after == total


def _ceil_extra(size: int | None, pads: int, stride: int, reach: int, before: int) -> int:
    """Padding to add at the end so that floor division gives ONNX's ceil result (a window must start
    inside).
    """
    if size is None:
        if stride == 1:
            return 0
        raise Blocked("dynamic-padding", "ceil_mode over an unknown size", "bind the dimension with --shape")
    room = size + pads - reach
    steps = -(-room // stride)
    if steps * stride >= size + before:
        steps -= 1
    return max(steps * stride - room, 0)


def pad_spatial(
    ctx: Context, index: int, before: Sequence[int], after: Sequence[int], fill: Any = None
) -> int:
    """Pad the axes between batch and channels of a channels-last tensor. `fill`: None is (quantized) zero."""
    if not any(before) and not any(after):
        return index
    tensor = ctx.sub.tensors[index]
    lifted = len(tensor.shape) - 2 - len(before)  # 1-D data in a kernel for images: a height of one, never padded
    amounts = [(0, 0)] * (1 + lifted) + [*zip(before, after, strict=True), (0, 0)]
    shape: Dims = tuple(
        None if d is None else d + a + b for d, (a, b) in zip(tensor.shape, amounts, strict=True)
    )
    table = ctx.constant(np.array(amounts, np.int32), "paddings")
    out = ctx.temp(tensor.type, shape, f"{tensor.name}/pad", tensor.encoding)
    if fill is None:
        return ctx.emit("PAD", [index, table], [out])
    return ctx.emit("PADV2", [index, table, fill], [out])


def take_window(ctx: Context, index: int, geometry: Window, fill: Any = None) -> tuple[int, int]:
    """The (padded) tensor and TFLite's padding scheme."""
    if geometry.same and geometry.padded:
        return index, SAME
    return pad_spatial(ctx, index, geometry.before, geometry.after, fill), VALID


def spatial_input(ctx: Context, v: ir.Value) -> int:
    """Channels-last tensor of `v`; 1-D data gets a height of one."""
    rank = ctx.rank(v)
    index = ctx.tensor(v, channels_first(rank))
    return lift(ctx, index) if rank == 3 else index


def lift(ctx: Context, index: int) -> int:
    """(N, W, C) as (N, 1, W, C)."""
    key = ("lift", index)
    if key not in ctx._views:
        tensor = ctx.sub.tensors[index]
        shape = (tensor.shape[0], 1, *tensor.shape[1:])
        if sum(dim is None for dim in shape) <= 1:
            ctx._views[key] = ctx.reshape(index, shape)
        else:
            out = ctx.temp(tensor.type, shape, f"{tensor.name}/lifted", tensor.encoding)
            axis = ctx.constant(np.int32(1), "axis")
            ctx._views[key] = ctx.emit("EXPAND_DIMS", [index, axis], [out])
    return ctx._views[key]


class SpatialOutput:
    """Where a windowed operator writes: straight into the result, or lifted and then flattened for 1-D
    data.
    """

    def __init__(self, ctx: Context, result: ir.Value) -> None:
        self.ctx, self.result, self.rank = ctx, result, ctx.rank(result)
        self.index = -1
        self.final = ctx.out(result, channels_first(self.rank))
        tensor = ctx.sub.tensors[self.final]
        if self.rank == 3:
            shape = (tensor.shape[0], 1, *tensor.shape[1:])
            self.index = ctx.temp(tensor.type, shape, f"{tensor.name}/lifted", tensor.encoding)
        else:
            self.index = self.final

    def finish(self) -> None:
        """After the operator was emitted."""
        if self.index == self.final:
            return
        shape = self.ctx.sub.tensors[self.final].shape
        if sum(dim is None for dim in shape) <= 1:
            self.ctx.reshape(self.index, shape, self.final)
            self.ctx._views[("lift", self.final)] = self.index
        else:
            self.ctx.emit("SQUEEZE", [self.index], [self.final], squeeze_dims=(1,))
