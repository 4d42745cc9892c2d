"""Resizing of the spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.sources.channels_last.dims import Dim, bounded
from bessemer.sources.channels_last.windows import channel_axis, order_of, placed, spatial
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

PLACES = ("half_pixel", "align_corners", "asymmetric")
"""Where pixels lie. Half-pixel centres; corners on corners; TensorFlow 1's `x * scale`."""

MODES = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}


def resize(
    canvas: Canvas,
    source: Ordered,
    sizes: Sequence[int] | Ordered,
    *,
    method: str = "bilinear",
    place: str = "half_pixel",
    antialias: bool = False,
    cubic: float = -0.5,
    exclude_outside: bool = True,
    first: bool = False,
    name: str = "",
) -> Ordered:
    """To `sizes` (constant, or a computed vector) along the spatial axes; `place` is one of PLACES.

    nearest takes the pixel under the centre (half_pixel), the closest one with halves up (align_corners), or the one
    below (asymmetric), as TensorFlow does. cubic: the coefficient a of the kernel (-0.5 in TensorFlow 2, -0.75 in 1).
    """
    order = order_of(source.rank, first)
    held = sizes.known if isinstance(sizes, Ordered) else np.asarray(sizes)
    count = source.rank - 2
    results: tuple[Dim, ...] = (None,) * count if held is None else tuple(int(item) for item in held.reshape(-1))
    nearest = method == "nearest"
    smooth = antialias and not nearest
    if place == "half_pixel" and method in KERNELS and (smooth or method not in ("nearest", "bilinear")):
        bound = [dim for dim in (*spatial(source, first), *results) if isinstance(dim, int)]
        if len(bound) == 2 * count and (cubic == -0.5 or method != "bicubic"):
            return _multiplied(canvas, source, bound[:count], bound[count:], method, smooth, first)
    _known(method, place)
    made = canvas.emit(
        "Resize", [canvas.at(source, order), None, None, _sizes(canvas, source, sizes, results, first)],
        mode=MODES[method], coordinate_transformation_mode=place, antialias=1 if smooth else None,
        nearest_mode=_rounding(place) if nearest else None,
        cubic_coeff_a=cubic if method == "bicubic" else None,
        exclude_outside=1 if method == "bicubic" and exclude_outside else None,
    )  # fmt: skip
    depth = source.shape[channel_axis(source.rank, first)]
    return canvas.result(made, placed(source.shape[0], results, depth, first), order, name)


def _hat(x: Array) -> Array:
    made: Array = np.maximum(1 - np.abs(x), 0)
    return made


def _keys(x: Array) -> Array:
    """Keys 1981 with a = -0.5."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(radius: int) -> Callable[[Array], Array]:
    return lambda x: np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0)


KERNELS: dict[str, Callable[[Array], Array]] = {
    "bilinear": _hat, "bicubic": _keys, "lanczos3": _lanczos(3), "lanczos5": _lanczos(5),
}  # fmt: skip
"""What a pixel weighs at a distance."""


TABLE = 1024
"""TensorFlow's ResizeBicubic looks its kernel up at multiples of 1/1024."""


def matrix(size: int, result: int, method: str, antialias: bool) -> Array:
    """(result, size): what each pixel of a resized axis takes from the old ones (half-pixel centres).

    antialias: a shrinking kernel is widened by the scale. Weights beyond the border are left out, the rest sum to one
    (TensorFlow's ScaleAndTranslate and its ResizeBicubic).
    """
    bounded(size, result)
    scale = np.float32(size) / np.float32(result)
    wide = max(float(scale), 1.0) if antialias else 1.0
    centres = (np.arange(result, dtype=np.float32)[:, None] + np.float32(0.5)) * scale - np.float32(0.5)
    if method == "bicubic" and not antialias:
        whole = np.floor(centres)
        centres = whole + np.rint((centres - whole) * TABLE) / TABLE
    weights = KERNELS[method]((np.arange(size)[None] - centres) / wide)
    made: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return made


def _multiplied(
    canvas: Canvas, source: Ordered, sizes: list[int], results: list[int], method: str, antialias: bool, first: bool
) -> Ordered:
    """One matrix product per axis: exact on every target, whatever its Resize knows."""
    if source.rank != 4:
        raise Unsupported("resize-rank", f"resizing {source.rank - 2} axes by '{method}'")
    order = order_of(4, first)
    down, across = (matrix(*pair, method, antialias) for pair in zip(sizes, results, strict=True))
    value = canvas.emit("MatMul", [canvas.literal(down, "rows"), canvas.at(source, order)])
    value = canvas.emit("MatMul", [value, canvas.literal(np.ascontiguousarray(across.T), "columns")])
    depth = source.shape[channel_axis(4, first)]
    return canvas.result(value, placed(source.shape[0], results, depth, first), order)


def _rounding(place: str) -> str:
    """TensorFlow's floor((x + 0.5) * scale) is half_pixel's rounding up of halves."""
    return "floor" if place == "asymmetric" else "round_prefer_ceil"


def _known(method: str, place: str) -> None:
    if method not in MODES or place not in PLACES:
        raise Unsupported("resize-method", f"resizing by '{method}' with '{place}' pixels has no ONNX form")


def _sizes(canvas: Canvas, source: Ordered, sizes: Any, results: tuple[Dim, ...], first: bool) -> Any:
    """Of all axes in channels-first order; batch and channels read from the tensor where they are unbound.

    Resize's own `axes` would spare that, but ONNX Runtime 1.31, moving a Transpose past such a node, permutes its sizes as
    if they were all, and then refuses the graph.
    """
    import onnx_ir

    depth = source.shape[channel_axis(source.rank, first)]
    front = (source.shape[0], depth)
    whole = [dim for dim in (*front, *results) if isinstance(dim, int)]
    if len(whole) == source.rank:
        return canvas.literal(int64s(whole), "sizes")
    value, kind = canvas.at(source, order_of(source.rank, first)), onnx_ir.DataType.INT64
    head = canvas.emit("Shape", [value], start=0, end=2, dtype=kind)
    if all(isinstance(dim, int) for dim in results):
        tail = canvas.literal(int64s(dim for dim in results if isinstance(dim, int)), "size")
    else:
        tail = canvas.emit("Cast", [canvas.at(sizes)], to=int(kind), dtype=kind)
    return canvas.emit("Concat", [head, tail], axis=0)


def upsample(
    canvas: Canvas,
    source: Ordered,
    factors: Sequence[int],
    *,
    method: str = "nearest",
    place: str = "half_pixel",
    first: bool = False,
    name: str = "",
) -> Ordered:
    """Whole multiples of the spatial sizes, unbound ones too."""
    order, have = order_of(source.rank, first), spatial(source, first)
    results = tuple(dim * by if isinstance(dim, int) else None for dim, by in zip(have, factors, strict=True))
    if all(isinstance(dim, int) for dim in results):
        sizes = [dim for dim in results if isinstance(dim, int)]
        return resize(canvas, source, sizes, method=method, place=place, first=first, name=name)
    _known(method, place)
    scales = canvas.literal(np.array([1, 1, *factors], np.float32), "scales")
    nearest = method == "nearest"
    made = canvas.emit(
        "Resize", [canvas.at(source, order), None, scales], mode=MODES[method], coordinate_transformation_mode=place,
        nearest_mode=_rounding(place) if nearest else None, cubic_coeff_a=-0.5 if method == "bicubic" else None,
        exclude_outside=1 if method == "bicubic" else None,
    )  # fmt: skip
    depth = source.shape[channel_axis(source.rank, first)]
    return canvas.result(made, placed(source.shape[0], results, depth, first), order, name)
