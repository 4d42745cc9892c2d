"""Functions that move elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bessemer.sources.channels_last import shaping
from bessemer.sources.channels_last.dims import bounded
from bessemer.sources.channels_last.elementwise import applied, cast
from bessemer.sources.channels_last.padding import pad
from bessemer.sources.channels_last.resize import resize
from bessemer.sources.channels_last.select import gather
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.operations.arguments import Arguments, function


@function("reshape")
def reshape(canvas: Canvas, arguments: Arguments) -> Ordered:
    """One dim may be -1, others computed."""
    x, held = arguments.tensor(0), arguments.get(1, "shape", "newshape")
    if isinstance(held, Ordered) and held.known is None:
        sizes: list[Any] = [None] * int(held.static[0])
        return shaping.reshape(canvas, x, sizes, held)
    listed = held.known.tolist() if isinstance(held, Ordered) and held.known is not None else held
    listed = [listed] if isinstance(listed, int) else list(listed)
    dims = [_dim(item) for item in listed]
    if all(isinstance(dim, int) for dim in dims):
        first = len(dims) > 0 and dims[0] == -1 and dims.count(-1) == 1
        rest = [dim for dim in dims[1:] if isinstance(dim, int)]
        if first and all(isinstance(d, int) for d in x.shape[1:]) and int(np.prod(rest)) == int(np.prod(x.shape[1:])):  # type: ignore[arg-type]
            return shaping.reshape(canvas, x, [x.shape[0], *rest])
        return shaping.reshape(canvas, x, dims)
    return shaping.reshape(canvas, x, [None if dim is None else dim for dim in dims], _vector(canvas, listed))


def _dim(item: Any) -> int | None:
    if isinstance(item, Ordered):
        return None if item.known is None else int(item.known)
    return None if item is None else int(item)


def _vector(canvas: Canvas, items: Sequence[Any]) -> Ordered:
    """Numbers and computed scalars as one vector."""
    import onnx_ir

    parts = []
    for item in items:
        if isinstance(item, Ordered):
            whole = cast(canvas, item, onnx_ir.DataType.INT64)
            parts.append(shaping.reshape(canvas, whole, [1]))
        else:
            parts.append(canvas.constant(np.array([-1 if item is None else item], np.int64), "size"))
    return shaping.concat(canvas, parts, 0)


@function("transpose")
def transpose(canvas: Canvas, arguments: Arguments) -> Ordered:
    """All axes turned round unless they are said."""
    x = arguments.tensor(0)
    held = arguments.whole(1, "perm", "axes", default=None)
    return shaping.transpose(canvas, x, list(range(x.rank))[::-1] if held is None else held)


@function("swapaxes")
def swapaxes(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Two axes exchanged."""
    x = arguments.tensor(0)
    first, second = (int(arguments.whole(at, f"axis{at}")) % x.rank for at in (1, 2))
    order = list(range(x.rank))
    order[first], order[second] = second, first
    return shaping.transpose(canvas, x, order)


@function("moveaxis")
def moveaxis(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Axes moved to other places."""
    x = arguments.tensor(0)
    order = _moved(x.rank, arguments.whole(1, "source"), arguments.whole(2, "destination"))
    return shaping.transpose(canvas, x, order)


def _moved(rank: int, source: Any, target: Any) -> list[int]:
    sources = [axis % rank for axis in ([source] if isinstance(source, int) else source)]
    targets = [axis % rank for axis in ([target] if isinstance(target, int) else target)]
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(place, axis)
    return order


@function("expand_dims")
def expand_dims(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A new axis, or several."""
    axis = arguments.whole(1, "axis")
    return shaping.expand_dims(canvas, arguments.tensor(0), [axis] if isinstance(axis, int) else axis)


@function("squeeze")
def squeeze(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Axes of size one."""
    held = arguments.whole(1, "axis", "squeeze_dims", default=None)
    axes = [held] if isinstance(held, int) else held
    return shaping.squeeze(canvas, arguments.tensor(0), axes or None)


@function("concatenate", "concat")
def concatenate(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A list of tensors along an axis."""
    return shaping.concat(canvas, _tensors(arguments), int(arguments.whole(1, "axis", default=-1)))


@function("stack")
def stack(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A list of tensors along a new axis."""
    return shaping.stack(canvas, _tensors(arguments), int(arguments.whole(1, "axis", default=0)))


@function("add_n")
def add_n(canvas: Canvas, arguments: Arguments) -> Ordered:
    """The sum of a list of tensors."""
    made, *others = _tensors(arguments)
    for tensor in others:
        made = applied(canvas, "Add", made, tensor)
    return made


def _tensors(arguments: Arguments) -> list[Ordered]:
    held = arguments.get(0, "values", "xs", "inputs", "x")
    if not isinstance(held, list | tuple) or not any(isinstance(item, Ordered) for item in held):
        raise Unsupported("argument", "it is not called on a list of tensors")
    like = next(item for item in held if isinstance(item, Ordered))
    return [
        item if isinstance(item, Ordered) else arguments.canvas.constant(np.asarray(item, like.dtype.numpy()), "number")
        for item in held
    ]


@function("split")
def split(canvas: Canvas, arguments: Arguments) -> list[Ordered]:
    """Equal parts, or parts of given sizes; Keras's list says where to cut."""
    x = arguments.tensor(0, "value", "x")
    axis = int(arguments.whole(2, "axis", default=0))
    held = arguments.whole(1, "num_or_size_splits", "indices_or_sections")
    if isinstance(held, int):
        return shaping.split(canvas, x, axis, held)
    if arguments.generation < 3:
        return shaping.split(canvas, x, axis, list(held))
    size = x.shape[axis % x.rank]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "cuts of an unbound axis")
    bounds = [0, *held, size]
    return shaping.split(canvas, x, axis, [high - low for low, high in pairwise(bounds)])


@function("unstack")
def unstack(canvas: Canvas, arguments: Arguments) -> list[Ordered]:
    """The slices along an axis."""
    x, axis = arguments.tensor(0, "value", "x"), int(arguments.whole(2, "axis", default=0))
    size = x.shape[axis % x.rank]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "slices of an unbound axis")
    return shaping.unstack(canvas, x, axis, size)


@function("pad", "pad_v2")
def padded(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Constants, or the border mirrored."""
    x, held = arguments.tensor(0), arguments.whole(1, "paddings", "pad_width")
    if isinstance(held, int):
        held = [[held, held]] * x.rank
    pairs = [(int(item[0]), int(item[1])) for item in (held if len(held) == x.rank else list(held) * x.rank)]
    mode = str(arguments.get(2, "mode", default="constant")).lower()
    return pad(canvas, x, pairs, mode=mode, value=arguments.get(3, "constant_values", default=0) or 0)


@function("tile")
def tile(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Repeated along each axis."""
    return shaping.tile(canvas, arguments.tensor(0), list(arguments.whole(1, "multiples", "repeats")))


@function("repeat")
def repeat(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Every element so many times along an axis."""
    x, times = arguments.tensor(0), arguments.whole(1, "repeats")
    axis = arguments.whole(2, "axis", default=None)
    size = None if axis is None else x.shape[axis % x.rank]
    if not isinstance(times, int) or not isinstance(size, int):
        raise Unsupported("argument", "repeats that differ, or along no axis or an unbound one")
    bounded(size, times)
    places = canvas.constant(np.repeat(np.arange(size, dtype=np.int64), times), "places")
    return gather(canvas, x, places, axis % x.rank)


@function("take", "gather", "gather_v2")
def take(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Slices along an axis by index."""
    x = arguments.tensor(0, "x", "params")
    held = arguments.get(1, "indices")
    places = held if isinstance(held, Ordered) else canvas.constant(np.asarray(held, np.int64), "places")
    axis = arguments.whole(2, "axis", default=0 if arguments.generation < 3 else None)
    if axis is None:
        raise Unsupported("argument", "elements by index of all axes at once")
    return gather(canvas, x, places, int(axis) % x.rank)


@function("flip", "reverse", "reverse_v2")
def flip(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Turned round along axes."""
    x = arguments.tensor(0)
    return shaping.reverse(canvas, x, arguments.axes(x))


@function("zeros_like", "ones_like")
def filled_like(canvas: Canvas, arguments: Arguments) -> Ordered:
    """All zeros, or all ones, of a tensor's shape, in a type of its own or the tensor's."""
    from bessemer.ir.types import named_dtype

    x, kind = arguments.tensor(0), arguments.get(1, "dtype", default=None)
    held = np.asarray(int(bool(arguments.named.get("ones"))))
    one = canvas.constant(held.astype(x.dtype.numpy() if kind is None else named_dtype(str(kind))), "filling")
    return shaping.broadcast_to(canvas, one, x.shape, shaping.shape_vector(canvas, x))


@function("shape")
def shape(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Its dims as int32."""
    import onnx_ir

    return shaping.shape_vector(canvas, arguments.tensor(0), onnx_ir.DataType.INT32)


@function("getitem", "get_item")
def get_item(canvas: Canvas, arguments: Arguments) -> Ordered:
    """x[...] with numbers, slices, an ellipsis and new axes."""
    x, key = arguments.tensor(0), arguments.get(1, "slice_spec", "key")
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if Ellipsis in [item for item in keys if not isinstance(item, Ordered)]:
        at = next(place for place, item in enumerate(keys) if item is Ellipsis)
        missing = x.rank - sum(item is not None and item is not Ellipsis for item in keys)
        keys[at : at + 1] = [slice(None)] * missing
    axis, gone, fresh = 0, list[int](), list[int]()
    place = 0
    for item in keys:
        if item is None:
            fresh.append(place)
            place += 1
            continue
        if isinstance(item, int):
            x = shaping.cut(canvas, x, axis, item, None if item == -1 else item + 1)
            gone.append(axis)
        elif isinstance(item, slice):
            bounds = [_bound(part) for part in (item.start, item.stop, item.step)]
            x = shaping.cut(canvas, x, axis, bounds[0], bounds[1], 1 if bounds[2] is None else bounds[2])
            place += 1
        else:
            raise Unsupported("index", f"an index that is computed or a {type(item).__name__}")
        axis += 1
    made = shaping.squeeze(canvas, x, gone) if gone else x
    return shaping.expand_dims(canvas, made, fresh) if fresh else made


def _bound(part: Any) -> int | None:
    if isinstance(part, Ordered):
        raise Unsupported("index", "a slice with a computed bound")
    return None if part is None else int(part)


@function("image.resize", "resize")
def resized(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Pictures at another size."""
    x = floats(canvas, arguments.tensor(0, "images", "image"))
    size = [int(item) for item in arguments.whole(1, "size")]
    method = str(arguments.get(2, "method", "interpolation", default="bilinear")).lower()
    if arguments.named.get("preserve_aspect_ratio") or arguments.named.get("crop_to_aspect_ratio"):
        raise Unsupported("argument", "a resize that keeps the aspect ratio", "use a Resizing layer")
    smooth = bool(arguments.named.get("antialias", False))
    first = arguments.named.get("data_format") == "channels_first"
    return resize(canvas, x, size, method=method, antialias=smooth, first=first)
