"""Transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import weight_of
from bessemer.ir.layout import channels_first
from bessemer.ir.types import Array
from bessemer.targets.tflite.builder import Dims, Tensor
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.ops.common import final_value, fused, need_type, optional, static_shape, value
from bessemer.targets.tflite.ops.weights import accumulator_scale, bias_tensor, held_type, integer_product
from bessemer.targets.tflite.ops.window import SAME, VALID, pad_spatial, spatial_input
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


EXAMPLE = 64
"""A size in the place of one that is not known."""


class Geometry:
    """Sizes of a transposed convolution over its spatial axes (1-D lifted to 2-D)."""

    def __init__(self, ctx: Context, node: ir.Node) -> None:
        source, result = value(node, 0), node.outputs[0]
        kernel = static_shape(ctx, value(node, 1))[2:]
        count, attributes = len(kernel), node.attributes
        lift = (1,) if count == 1 else ()
        self.strides = (*lift, *attributes.get_ints("strides", [1] * count))
        self.dilations = (*lift, *attributes.get_ints("dilations", [1] * count))
        self.kernel = (*lift, *kernel)
        sizes, outs = ctx.shape(source)[2:], ctx.shape(result)[2:]
        self.unknown = None in sizes or None in outs
        """Whether `sizes`, `outs` and `full` are only examples: what the kernel must do is the same for all sizes."""
        if self.unknown:
            examples = tuple(EXAMPLE if size is None else size for size in sizes)
            sizes, outs = examples, self._outs(attributes, examples, kernel)
        self.sizes = (*lift, *(d or 0 for d in sizes))
        self.outs = (*lift, *(d or 0 for d in outs))
        self.full = tuple(
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(self.sizes, self.strides, self.kernel, self.dilations, strict=True)
        )
        self.before = (*((0,) if lift else ()), *self._before(attributes, count))

    def _outs(self, attributes: ir._graph_containers.Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> Dims:
        """Sizes of the result as the specification computes them."""
        count, auto = len(kernel), attributes.get_string("auto_pad", "NOTSET")
        if attributes.get_ints("output_shape", []):
            raise Blocked("dynamic-shape", "an output shape for an input of unknown size", "bind it with --shape")
        strides, dilations = self.strides[-count:], self.dilations[-count:]
        if auto.startswith("SAME"):
            return tuple(size * stride for size, stride in zip(sizes, strides, strict=True))
        pads = [0] * 2 * count if auto == "VALID" else attributes.get_ints("pads", [0] * 2 * count)
        extra = attributes.get_ints("output_padding", [0] * count)
        return tuple(
            (n - 1) * s + (k - 1) * d + 1 - before - after + more
            for n, s, k, d, before, after, more in zip(
                sizes, strides, kernel, dilations, pads[:count], pads[count:], extra, strict=True
            )
        )

    @property
    def padding(self) -> int | None:
        """VALID or SAME where the kernel's own pads are these; None where the full extent must be cut."""
        if self.outs == self.full and not any(self.before):
            return VALID
        axes = list(zip(self.sizes, self.outs, self.strides, self.full, self.before, strict=True))
        covered = all(size == -(-out // stride) for size, out, stride, _, _ in axes)
        same = all(before == max(full - out, 0) // 2 for _, out, _, full, before in axes)
        return SAME if covered and same and all(out <= full for _, out, _, full, _ in axes) else None

    def _before(self, attributes: ir._graph_containers.Attributes, count: int) -> list[int]:
        auto = attributes.get_string("auto_pad", "NOTSET")
        shape_given = bool(attributes.get_ints("output_shape", []))
        if auto == "NOTSET" and not shape_given:
            return list(attributes.get_ints("pads", [0] * 2 * count))[:count]
        if auto == "VALID":
            return [0] * count
        extra = attributes.get_ints("output_padding", [0] * count)
        totals = [f + e - o for f, e, o in zip(self.full[-count:], extra, self.outs[-count:], strict=True)]
        if min(totals) < 0:
            raise Blocked("negative-pads", "this output shape needs negative pads")
        return [total // 2 if auto == "SAME_UPPER" else total - total // 2 for total in totals]


def _integer(ctx: Context, node: ir.Node) -> bool:
    """One group, and no output padding beyond the full extent (there the bias would be missing)."""
    if ctx.rank(value(node, 0)) not in (3, 4) or node.attributes.get_int("group", 1) != 1:
        return False
    if not integer_product(ctx, node, final_value(ctx, node), 1) or held_type(value(node, 1)) != "INT8":
        return False
    geometry = Geometry(ctx, node)
    if geometry.unknown:
        return False
    ends = zip(geometry.before, geometry.outs, geometry.full, strict=True)
    return all(before + size <= full for before, size, full in ends)


@lower("ConvTranspose", integer=_integer)
def conv_transpose(ctx: Context, node: ir.Node) -> None:
    """TRANSPOSE_CONV or CONV_3D_TRANSPOSE: over the full extent, then a slice (and zeros for output padding), unless
    the pads are those that the kernel computes itself."""
    source, weight, result = value(node, 0), value(node, 1), node.outputs[0]
    if ctx.integer:
        _in_integers(ctx, node)
        return
    need_type(ctx, source, "FLOAT32")
    rank = ctx.rank(source)
    if rank not in (3, 4, 5):
        raise Blocked("rank", f"LiteRT's transposed convolutions work on one to three axes, not {rank - 2}")
    geometry = Geometry(ctx, node)
    groups, shape = node.attributes.get_int("group", 1), static_shape(ctx, weight)
    index = spatial_input(ctx, source)
    kernels = kernel_tensors(ctx, weight, geometry, groups)
    if groups == 1 and geometry.padding is not None:
        _whole(ctx, node, index, kernels[0], geometry)
        return
    if geometry.unknown:
        raise Blocked("dynamic-shape", "a transposed convolution whose result must be cut needs known sizes",
                      "bind them with --shape")  # fmt: skip
    parts = [
        _group(ctx, piece, kernel, geometry)
        for piece, kernel in zip(_pieces(ctx, index, groups), kernels, strict=True)
    ]
    whole = parts[0]
    if groups > 1:
        dims = (ctx.sub.tensors[whole].shape[0], *geometry.full, shape[1] * groups)
        whole = ctx.emit("CONCATENATION", parts, [ctx.temp("FLOAT32", dims, "groups")], axis=len(dims) - 1)
    whole = cut(ctx, whole, geometry.before, geometry.outs)
    bias = optional(node, 2)
    if bias is not None:
        out = ctx.temp("FLOAT32", ctx.sub.tensors[whole].shape, "biased")
        whole = ctx.emit("ADD", [whole, ctx.tensor(bias)], [out], fused_activation_function=0)
    _placed(ctx, result, whole)


def _whole(ctx: Context, node: ir.Node, index: int, kernel: int, geometry: Geometry) -> None:
    """One operator with bias and activation fused."""
    bias, count = optional(node, 2), static_shape(ctx, value(node, 1))[1]
    result, activation = fused(ctx, node)
    dims = (ctx.sub.tensors[index].shape[0], *_known(ctx, result, geometry), count)
    direct = ctx.rank(result) > 3
    out = ctx.out(result, channels_first(len(dims))) if direct else ctx.temp("FLOAT32", dims, "deconv")
    shape = _grown(ctx, index, geometry, count) if geometry.unknown else output_shape(ctx, index, (*geometry.outs, count))
    inputs = [shape, kernel, index, *([] if bias is None else [ctx.tensor(bias)])]
    code, options = _operator(geometry)
    ctx.emit(code, inputs, [out], padding=geometry.padding, fused_activation_function=activation, **options)
    if not direct:
        _placed(ctx, result, out)


def _known(ctx: Context, result: ir.Value, geometry: Geometry) -> Dims:
    """Spatial sizes of the result as the file declares them."""
    if not geometry.unknown:
        return geometry.outs
    spatial = ctx.shape(result)[2:]
    return (*geometry.outs[: len(geometry.outs) - len(spatial)], *spatial)


def _grown(ctx: Context, index: int, geometry: Geometry, count: int) -> int:
    """INT32 shape of the result: sizes times strides and what kernel and pads add."""
    added = [out - size * stride for out, size, stride in zip(geometry.outs, geometry.sizes, geometry.strides, strict=True)]
    rank = len(added) + 2
    dims = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (rank,), "shape")], out_type=2)
    times = ctx.constant(np.array([1, *geometry.strides, 0], np.int32), "strides")
    grown = ctx.emit("MUL", [dims, times], [ctx.temp("INT32", (rank,), "shape")], fused_activation_function=0)
    more = ctx.constant(np.array([0, *added, count], np.int32), "added")
    return ctx.emit("ADD", [grown, more], [ctx.temp("INT32", (rank,), "shape")], fused_activation_function=0)


def _operator(geometry: Geometry) -> tuple[str, dict[str, int]]:
    """The operator and its strides; dilations are zeros in the kernel."""
    names = ("d", "h", "w")[-len(geometry.strides) :]
    options = {f"stride_{name}": stride for name, stride in zip(names, geometry.strides, strict=True)}
    if len(names) == 2:
        return "TRANSPOSE_CONV", options
    return "CONV_3D_TRANSPOSE", options | {f"dilation_{name}_factor": 1 for name in names}


def _placed(ctx: Context, result: ir.Value, index: int) -> None:
    """Let the result stand in a channels-last tensor, 1-D data without its height of one."""
    if ctx.rank(result) > 3:
        ctx.alias(result, index, channels_first(ctx.rank(result)))
    else:
        n, _, w, c = ctx.sub.tensors[index].shape
        ctx.alias(result, ctx.reshape(index, (n, w, c)), channels_first(3))


def _in_integers(ctx: Context, node: ir.Node) -> None:
    """The integer kernel adds the bias to its accumulator and clamps to the activation."""
    source, weight = value(node, 0), value(node, 1)
    geometry, index = Geometry(ctx, node), spatial_input(ctx, source)
    count = static_shape(ctx, weight)[1]
    bias = bias_tensor(ctx, optional(node, 2), source, accumulator_scale(ctx, source, weight))
    result, activation = fused(ctx, node)
    encoding = ctx.encoding(result)
    dims = (ctx.sub.tensors[index].shape[0], *geometry.full, count)
    whole = ctx.temp(ctx.sub.tensors[index].type, dims, "deconv", encoding)
    inputs = [output_shape(ctx, index, (*geometry.full, count)), _integer_kernel(ctx, weight, geometry), index]
    ctx.emit(
        "TRANSPOSE_CONV", inputs + [bias] * (bias >= 0), [whole], padding=1,
        stride_h=geometry.strides[0], stride_w=geometry.strides[1], fused_activation_function=activation,
    )  # fmt: skip
    _placed(ctx, result, cut(ctx, whole, geometry.before, geometry.outs))


def _integer_kernel(ctx: Context, weight: ir.Value, geometry: Geometry) -> int:
    """(O, H, W, I), dilated by zeros."""
    held = weight_of(weight)
    if held is None:
        raise Blocked("dynamic-kernel", "an integer kernel must be a constant")
    array = dilated(held.integers.reshape((*held.integers.shape[:2], *geometry.kernel)), geometry)
    data, axis = np.ascontiguousarray(array.transpose(1, 2, 3, 0)), held.encoding.axis
    encoding = replace(held.encoding, axis=None if axis is None else 0)
    return ctx.sub.add(Tensor(weight.name or "kernel", encoding.dtype, data.shape, lambda: data, encoding))


def dilated(array: Array, geometry: Geometry) -> Array:
    """A kernel (I, O, H, W) with the zeros that its dilations put between its elements."""
    if all(d == 1 for d in geometry.dilations):
        return array
    reach = tuple((k - 1) * d + 1 for k, d in zip(geometry.kernel, geometry.dilations, strict=True))
    wide = np.zeros((*array.shape[:2], *reach), array.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in geometry.dilations))] = array
    return wide


def kernel_tensors(ctx: Context, weight: ir.Value, geometry: Geometry, groups: int) -> list[int]:
    """One kernel tensor per group, (O/g, H, W, I/g) or (D, H, W, O/g, I/g), dilated by zeros."""
    array = ctx.const(weight)
    if array is None:
        return [_computed_kernel(ctx, weight, geometry, groups)]
    array = array.astype(np.float32).reshape((*array.shape[:2], *geometry.kernel))
    array = dilated(array, geometry)
    parts: list[Array] = np.split(array, groups, axis=0)
    order = (1, 2, 3, 0) if array.ndim == 4 else (2, 3, 4, 1, 0)
    return [ctx.constant(np.ascontiguousarray(part.transpose(order)), "kernel") for part in parts]


def _computed_kernel(ctx: Context, weight: ir.Value, geometry: Geometry, groups: int) -> int:
    if groups > 1 or any(d != 1 for d in geometry.dilations):
        raise Blocked(
            "dynamic-kernel", "a computed kernel with groups or dilations", "make the kernel a constant"
        )
    if ctx.rank(weight) > 3:
        return ctx.tensor(weight, (3, 0, 1, 2) if ctx.rank(weight) == 4 else (4, 3, 0, 1, 2))
    tensor = ctx.tensor(weight, (2, 0, 1))
    outs, width, ins = ctx.sub.tensors[tensor].shape
    return ctx.reshape(tensor, (outs, 1, width, ins))


def _pieces(ctx: Context, index: int, groups: int) -> list[int]:
    if groups == 1:
        return [index]
    tensor = ctx.sub.tensors[index]
    shape = (*tensor.shape[:-1], (tensor.shape[-1] or 0) // groups)
    outs = [ctx.temp("FLOAT32", shape, "group") for _ in range(groups)]
    ctx.emit("SPLIT", [ctx.constant(np.int32(len(shape) - 1), "axis"), index], outs, num_splits=groups)
    return outs


def _group(ctx: Context, index: int, filters: int, geometry: Geometry) -> int:
    channels = ctx.sub.tensors[filters].shape[0 if len(geometry.full) == 2 else 3] or 0
    batch, (code, options) = ctx.sub.tensors[index].shape[0], _operator(geometry)
    dims = (batch, *geometry.full, channels)
    out = ctx.temp("FLOAT32", dims, "deconv")
    inputs = [output_shape(ctx, index, (*geometry.full, channels)), filters, index]
    return ctx.emit(code, inputs, [out], padding=VALID, **options)


def output_shape(ctx: Context, index: int, rest: Sequence[int]) -> int:
    """INT32 shape: the batch of `index`, known or read at run time, then `rest`."""
    batch = ctx.sub.tensors[index].shape[0]
    if batch is not None:
        return ctx.constant(np.array([batch, *rest], np.int32), "shape")
    count = len(rest) + 1
    whole = ctx.emit("SHAPE", [index], [ctx.temp("INT32", (count,), "shape")], out_type=2)
    begin, size = (
        ctx.constant(np.array([0], np.int32), "begin"),
        ctx.constant(np.array([1], np.int32), "size"),
    )
    first = ctx.emit("SLICE", [whole, begin, size], [ctx.temp("INT32", (1,), "batch")])
    tail = ctx.constant(np.array(rest, np.int32), "sizes")
    return ctx.emit("CONCATENATION", [first, tail], [ctx.temp("INT32", (count,), "shape")], axis=0)


def cut(ctx: Context, index: int, before: Sequence[int], sizes: Sequence[int]) -> int:
    """`sizes` elements from `before` along the spatial axes; zeros where the tensor ends earlier."""
    tensor = ctx.sub.tensors[index]
    spatial = [d or 0 for d in tensor.shape[1:-1]]
    missing = [max(b + s - d, 0) for b, s, d in zip(before, sizes, spatial, strict=True)]
    index = pad_spatial(ctx, index, [0] * len(missing), missing)
    tensor = ctx.sub.tensors[index]
    if tuple(tensor.shape[1:-1]) == tuple(sizes):
        return index
    begin = ctx.constant(np.array([0, *before, 0], np.int32), "begin")
    size = ctx.constant(np.array([-1, *sizes, -1], np.int32), "size")
    out = ctx.temp(tensor.type, (tensor.shape[0], *sizes, tensor.shape[-1]), "cut", tensor.encoding)
    return ctx.emit("SLICE", [index, begin, size], [out])
