"""Pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.layout import channels_first
from bessemer.ir.types import Array
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import need_type, same_encoding, value
from bessemer.targets.tflite.ops.window import (
    VALID,
    SpatialOutput,
    Window,
    pad_spatial,
    spatial_input,
    take_window,
    window,
)  # fmt: skip
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


def _options(geometry: Window, padding: int) -> dict[str, int]:
    kernel, strides = (1, *geometry.kernel)[-2:], (1, *geometry.strides)[-2:]
    return {
        "filter_height": kernel[0],
        "filter_width": kernel[1],
        "stride_h": strides[0],
        "stride_w": strides[1],
        "padding": padding,
        "fused_activation_function": 0,
    }


def _geometry(ctx: Context, node: ir.Node) -> Window:
    kernel = node.attributes.get_ints("kernel_shape")
    return window(ctx, node, list(kernel), ceil=bool(node.attributes.get_int("ceil_mode", 0)))


def lowest(ctx: Context, index: int) -> int:
    """A scalar below everything the tensor can hold."""
    tensor = ctx.sub.tensors[index]
    if tensor.encoding is None:
        return ctx.constant(np.float32(-np.inf), "lowest")
    low = {"INT8": np.int8(-128), "UINT8": np.uint8(0), "INT16": np.int16(-32768)}[tensor.type]
    out = ctx.constant(low, f"{tensor.name}/lowest", type_=tensor.type)
    ctx.sub.tensors[out].encoding = tensor.encoding
    return out


def _four(ctx: Context, node: ir.Node) -> bool:
    return same_encoding(ctx, node) and ctx.rank(value(node, 0)) in (3, 4) and not _dilated(node)


def _dilated(node: ir.Node) -> bool:
    return any(d != 1 for d in node.attributes.get_ints("dilations", []))


@lower("MaxPool", integer=_four)
def max_pool(ctx: Context, node: ir.Node) -> None:
    """MAX_POOL_2D; dilated or 3-D windows as the maximum of shifted slices."""
    source = value(node, 0)
    if (
        len(node.outputs) > 1
        and node.outputs[1].name
        and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    ):
        raise Blocked("pool-indices", "LiteRT has no max pooling that returns indices")
    if ctx.type(source) in ("INT8", "UINT8") and not ctx.integer:
        raise Blocked("type", "max pooling of plain integers", "cast to float32 around it")
    if not ctx.integer:
        need_type(ctx, source, "FLOAT32")
    geometry = _geometry(ctx, node)
    index = spatial_input(ctx, source)
    fill = lowest(ctx, index) if geometry.padded and not geometry.same else None
    if _dilated(node) or ctx.rank(source) > 4:
        _by_slices(ctx, node, index, geometry, "MAXIMUM")
        return
    index, padding = take_window(ctx, index, geometry, fill)
    out = SpatialOutput(ctx, node.outputs[0])
    ctx.emit("MAX_POOL_2D", [index], [out.index], **_options(geometry, padding))
    out.finish()


MOST_SLICES = 125


def _by_slices(ctx: Context, node: ir.Node, index: int, geometry: Window, code: str) -> None:
    """Combine one strided slice per kernel position."""
    if int(np.prod(geometry.kernel)) > MOST_SLICES:
        raise Blocked("pool-window", f"LiteRT has no kernel for a window of {geometry.kernel} over this data")
    kernel, strides, dilations = geometry.kernel, geometry.strides, geometry.dilations
    if ctx.rank(value(node, 0)) == 3:
        kernel, strides, dilations = (1, *kernel), (1, *strides), (1, *dilations)
    fill = lowest(ctx, index) if code == "MAXIMUM" else None
    lift = (0,) if ctx.rank(value(node, 0)) == 3 else ()
    if geometry.same and -1 in geometry.before:
        raise Blocked("dynamic-padding", "SAME padding of an unknown size", "bind the dimension with --shape")
    padded = pad_spatial(ctx, index, (*lift, *geometry.before), (*lift, *geometry.after), fill)
    out = SpatialOutput(ctx, node.outputs[0])
    spatial = ctx.sub.tensors[out.index].shape[1:-1]
    known = tuple(d for d in spatial if d is not None)
    if len(known) != len(spatial):
        raise Blocked("dynamic-shape", "this pooling needs known sizes", "bind them with --shape")
    total = -1
    positions = list(np.ndindex(*kernel))
    for count, position in enumerate(positions):
        piece = _slice(ctx, padded, [p * d for p, d in zip(position, dilations, strict=True)], strides, known)
        if total < 0:
            total = piece
            continue
        target = (
            out.index
            if count == len(positions) - 1
            else ctx.temp("FLOAT32", ctx.sub.tensors[piece].shape, "max")
        )
        total = ctx.emit(code, [total, piece], [target])
    if len(positions) == 1:
        ctx.reshape(total, ctx.sub.tensors[out.index].shape, out.index)
    out.finish()


def _slice(
    ctx: Context, index: int, start: list[int], strides: tuple[int, ...], sizes: tuple[int, ...]
) -> int:
    tensor = ctx.sub.tensors[index]
    ends = [s + (n - 1) * t + 1 for s, n, t in zip(start, sizes, strides, strict=True)]
    begin = ctx.constant(np.array([0, *start, 0], np.int32), "begin")
    end = ctx.constant(np.array([0, *ends, 0], np.int32), "end")
    step = ctx.constant(np.array([1, *strides, 1], np.int32), "strides")
    mask = 1 | 1 << (len(tensor.shape) - 1)
    out = ctx.temp(tensor.type, (tensor.shape[0], *sizes, tensor.shape[-1]), "slice", tensor.encoding)
    return ctx.emit("STRIDED_SLICE", [index, begin, end, step], [out], begin_mask=mask, end_mask=mask)


def _average_integer(ctx: Context, node: ir.Node) -> bool:
    if not _four(ctx, node):
        return False
    geometry = _geometry(ctx, node)
    if not geometry.padded or (geometry.same and not node.attributes.get_int("count_include_pad", 0)):
        return True
    return bool(np.all(counts(ctx, node, geometry) == 1))


@lower("AveragePool", integer=_average_integer)
def average_pool(ctx: Context, node: ir.Node) -> None:
    """AVERAGE_POOL_2D; where ONNX counts other elements than TFLite, scaled by a constant map."""
    source = value(node, 0)
    if ctx.rank(source) not in (3, 4) or _dilated(node):
        _average_by_slices(ctx, node)
        return
    if not ctx.integer:
        need_type(ctx, source, "FLOAT32")
    geometry = _geometry(ctx, node)
    index = spatial_input(ctx, source)
    out = SpatialOutput(ctx, node.outputs[0])
    include = node.attributes.get_int("count_include_pad", 0)
    if not geometry.padded or (geometry.same and not include):
        padding = 0 if geometry.padded else VALID
        ctx.emit("AVERAGE_POOL_2D", [index], [out.index], **_options(geometry, padding))
    else:
        correction = counts(ctx, node, geometry)
        index = pad_spatial(ctx, index, _lift(ctx, node, geometry.before), _lift(ctx, node, geometry.after))
        if np.all(correction == 1):
            ctx.emit("AVERAGE_POOL_2D", [index], [out.index], **_options(geometry, VALID))
        else:
            raw = ctx.temp("FLOAT32", ctx.sub.tensors[out.index].shape, "average")
            ctx.emit("AVERAGE_POOL_2D", [index], [raw], **_options(geometry, VALID))
            grid = correction.reshape((1, *_lift(ctx, node, correction.shape, 1), 1))
            ctx.emit("MUL", [raw, ctx.constant(grid, "counts")], [out.index], fused_activation_function=0)
    out.finish()


def _lift(ctx: Context, node: ir.Node, items: tuple[int, ...], extra: int = 0) -> tuple[int, ...]:
    return (extra, *items) if ctx.rank(value(node, 0)) == 3 else tuple(items)


def counts(ctx: Context, node: ir.Node, geometry: Window) -> Array:
    """Elements of the window over the elements that ONNX divides by, per output position."""
    explicit = list(node.attributes.get_ints("pads", [0] * 2 * len(geometry.kernel)))
    include = bool(node.attributes.get_int("count_include_pad", 0))
    total = np.ones((1,) * len(geometry.kernel), np.float64)
    for axis, size in enumerate(ctx.shape(value(node, 0))[2:]):
        before, after = geometry.before[axis], geometry.after[axis]
        if include and not _ceil_padding(node, explicit, geometry, axis):
            continue
        if size is None or before < 0:
            raise Blocked(
                "dynamic-padding", "padded average pooling over an unknown size", "bind it with --shape"
            )
        valid = np.zeros(size + before + after)
        outer = explicit[axis + len(geometry.kernel)] if include else 0
        valid[before - (before if include else 0) : before + size + outer] = 1
        reach = (geometry.kernel[axis] - 1) * geometry.dilations[axis] + 1
        starts = range(0, len(valid) - reach + 1, geometry.strides[axis])
        found = np.array([valid[s : s + reach : geometry.dilations[axis]].sum() for s in starts])
        shape = [1] * len(geometry.kernel)
        shape[axis] = len(found)
        total = total * (geometry.kernel[axis] / np.maximum(found, 1)).reshape(shape)
    return total.astype(np.float32)


def _ceil_padding(node: ir.Node, explicit: list[int], geometry: Window, axis: int) -> bool:
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    return geometry.after[axis] != explicit[axis + len(geometry.kernel)]


def _average_by_slices(ctx: Context, node: ir.Node) -> None:
    """Sum of shifted slices times the inverse counts."""
    need_type(ctx, value(node, 0), "FLOAT32")
    geometry = _geometry(ctx, node)
    index = spatial_input(ctx, value(node, 0))
    window_size = float(np.prod(geometry.kernel))
    grid = counts(ctx, node, geometry) / np.float32(window_size)
    scaled = Scaled(ctx, node, grid)
    scaled.run(index, geometry)


class Scaled:
    """The sum over windows, times a constant map."""

    def __init__(self, ctx: Context, node: ir.Node, grid: Array) -> None:
        self.ctx, self.node, self.grid = ctx, node, grid

    def run(self, index: int, geometry: Window) -> None:
        """Emit slices, sums and the product."""
        ctx = self.ctx
        if int(np.prod(geometry.kernel)) > MOST_SLICES:
            raise Blocked(
                "pool-window", f"LiteRT has no kernel for a window of {geometry.kernel} over this data"
            )
        lifted = ctx.rank(value(self.node, 0)) == 3
        one = (1,) if lifted else ()
        zero = (0,) if lifted else ()
        padded = pad_spatial(ctx, index, (*zero, *geometry.before), (*zero, *geometry.after))
        out = SpatialOutput(ctx, self.node.outputs[0])
        spatial = ctx.sub.tensors[out.index].shape[1:-1]
        known = tuple(d for d in spatial if d is not None)
        if len(known) != len(spatial):
            raise Blocked("dynamic-shape", "this pooling needs known sizes", "bind them with --shape")
        total = -1
        for position in np.ndindex(*one, *geometry.kernel):
            start = [p * d for p, d in zip(position, (*one, *geometry.dilations), strict=True)]
            piece = _slice(ctx, padded, start, (*one, *geometry.strides), known)
            shape = ctx.sub.tensors[piece].shape
            total = (
                piece if total < 0 else ctx.emit("ADD", [total, piece], [ctx.temp("FLOAT32", shape, "sum")])
            )
        grid = self.grid.reshape((1, *one, *self.grid.shape, 1)).astype(np.float32)
        ctx.emit("MUL", [total, ctx.constant(grid, "shares")], [out.index], fused_activation_function=0)
        out.finish()


def _reduce_integer(ctx: Context, node: ir.Node) -> bool:
    source, result = ctx.encoding(node.inputs[0]), ctx.encoding(node.outputs[0])
    if source is None or result is None or source.dtype != result.dtype:
        return False
    return node.op_type == "GlobalAveragePool" or source == result


@lower("GlobalAveragePool", "GlobalMaxPool", integer=_reduce_integer)
def global_pool(ctx: Context, node: ir.Node) -> None:
    """MEAN or REDUCE_MAX over the spatial axes, wherever they lie."""
    source = value(node, 0)
    rank = ctx.rank(source)
    perm = ctx.perm(source)
    if rank > 4 and node.op_type == "GlobalAveragePool":
        perm = channels_first(rank)
    axes = ctx.constant(np.array(sorted(perm[axis] for axis in range(2, rank)), np.int32), "axes")
    code = "MEAN" if node.op_type == "GlobalAveragePool" else "REDUCE_MAX"
    ctx.emit(code, [ctx.tensor(source, perm), axes], [ctx.out(node.outputs[0], perm)], keep_dims=True)
