"""Resizing of the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import int64s
from bessemer.sources.channels_last.dims import Dim
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
    _known(method, place)
    order = order_of(source.rank, first)
    held = sizes.known if isinstance(sizes, Ordered) else np.asarray(sizes)
    count = source.rank - 2
    results: tuple[Dim, ...] = (None,) * count if held is None else tuple(int(item) for item in held.reshape(-1))
    nearest = method == "nearest"
    made = canvas.emit(
        "Resize", [canvas.at(source, order), None, None, _sizes(canvas, source, sizes, results, first)],
        mode=MODES[method], coordinate_transformation_mode=place, antialias=int(antialias) or None,
        nearest_mode=_rounding(place) if nearest else None,
        cubic_coeff_a=cubic if method == "bicubic" else None,
        exclude_outside=1 if method == "bicubic" and exclude_outside else None,
    )  # fmt: skip
    depth = source.shape[channel_axis(source.rank, first)]
    return canvas.result(made, placed(source.shape[0], results, depth, first), order, name)


def _rounding(place: str) -> str:
    """TensorFlow's floor((x + 0.5) * scale) is half_pixel's rounding up of halves."""
    return "floor" if place == "asymmetric" else "round_prefer_ceil"


def _known(method: str, place: str) -> None:
    if method not in MODES or place not in PLACES:
        raise Unsupported("resize-method", f"resizing by '{method}' with '{place}' pixels has no ONNX form")


def _sizes(canvas: Canvas, source: Ordered, sizes: Any, results: tuple[Dim, ...], first: bool) -> Any:
    """Of all axes in channels-first order; batch and channels read from the tensor where they are unbound."""
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
    _known(method, place)
    order, have = order_of(source.rank, first), spatial(source, first)
    results = tuple(dim * by if isinstance(dim, int) else None for dim, by in zip(have, factors, strict=True))
    if all(isinstance(dim, int) for dim in results):
        sizes = [dim for dim in results if isinstance(dim, int)]
        return resize(canvas, source, sizes, method=method, place=place, first=first, name=name)
    scales = canvas.literal(np.array([1, 1, *factors], np.float32), "scales")
    nearest = method == "nearest"
    made = canvas.emit(
        "Resize", [canvas.at(source, order), None, scales], mode=MODES[method], coordinate_transformation_mode=place,
        nearest_mode=_rounding(place) if nearest else None, cubic_coeff_a=-0.5 if method == "bicubic" else None,
        exclude_outside=1 if method == "bicubic" else None,
    )  # fmt: skip
    depth = source.shape[channel_axis(source.rank, first)]
    return canvas.result(made, placed(source.shape[0], results, depth, first), order, name)
