"""Resize, by one matrix for each axis."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op


@op("Resize")
def resize(call: Call, x: Tensor, roi: Tensor = None, scales: Tensor = None, sizes: Tensor = None) -> Tensor:
    """Each axis is a product with a matrix whose rows hold the taps of one output place."""
    axes = [axis % x.ndim for axis in call.ints("axes", list(range(x.ndim))) or []]
    given, mode = list(x.shape), call.string("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        raise Unsupported("crop and resize")
    wanted, factors = _targets(call, given, axes, scales, sizes)
    wide = x if x.is_floating_point() and x.dtype.itemsize >= 4 else x.to(torch.float64)
    for axis, size, factor in zip(axes, wanted, factors, strict=True):
        if size == given[axis] and factor == 1:
            continue
        matrix = _matrix(call, given[axis], size, factor).to(wide.dtype)
        wide = torch.tensordot(wide, matrix, ([axis], [1])).movedim(-1, axis)
    if not x.is_floating_point():
        info = torch.iinfo(x.dtype)
        wide = wide.round().clamp(info.min, info.max)
    return wide.to(x.dtype)


def _targets(
    call: Call, given: list[int], axes: list[int], scales: Tensor, sizes: Tensor
) -> tuple[list[int], list[float]]:
    if sizes is None or not sizes.numel():
        factors = scales.to(torch.float64).tolist()
        return [math.floor(given[axis] * f) for axis, f in zip(axes, factors, strict=True)], factors
    wanted = sizes.tolist()
    factors = [size / given[axis] for axis, size in zip(axes, wanted, strict=True)]
    policy = call.string("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        factor = min(factors) if policy == "not_larger" else max(factors)
        factors = [factor] * len(axes)
        wanted = [math.floor(given[axis] * factor + 0.5) for axis in axes]
    return wanted, factors


def _matrix(call: Call, have: int, want: int, factor: float) -> Tensor:
    places = _coordinates(call, have, want, factor)
    kind = call.string("mode", "nearest")
    matrix = torch.zeros(want, have, dtype=torch.float64)
    if kind == "nearest":
        index = _nearest(call, places).clamp(0, have - 1)
        return matrix.scatter(1, index[:, None], 1.0)
    shrink = min(factor, 1.0) if call.integer("antialias") else 1.0
    reach = math.ceil((1 if kind == "linear" else 2) / shrink)
    taps = torch.floor(places)[:, None] + torch.arange(-reach + 1, reach + 1)
    distance = (taps - places[:, None]) * shrink
    weights = _triangle(distance) if kind == "linear" else _cubic(distance, call.number("cubic_coeff_a", -0.75))
    outside = (taps < 0) | (taps > have - 1)
    if call.integer("exclude_outside"):
        weights = torch.where(outside, torch.zeros_like(weights), weights)
    weights = weights / weights.sum(1, True)
    return matrix.scatter_add(1, taps.clamp(0, have - 1).to(torch.int64), weights)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys 1981, equation 4, with parameter a."""
    d = distance.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _coordinates(call: Call, have: int, want: int, factor: float) -> Tensor:
    """Where each output place lies in the input."""
    mode, at = call.string("coordinate_transformation_mode", "half_pixel"), torch.arange(want, dtype=torch.float64)
    exact = have * factor
    if mode == "asymmetric":
        return at / factor
    if mode == "align_corners":
        return at * (have - 1) / (exact - 1) if exact != 1 else torch.zeros_like(at)
    if mode == "pytorch_half_pixel" and exact <= 1:
        return torch.zeros_like(at)
    if mode == "half_pixel_symmetric":
        return have / 2 * (1 - want / exact) + (at + 0.5) / factor - 0.5
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / factor - 0.5
    raise Unsupported(f"coordinates in mode {mode}")


def _nearest(call: Call, places: Tensor) -> Any:
    rule = call.string("nearest_mode", "round_prefer_floor")
    if rule == "floor":
        return torch.floor(places).to(torch.int64)
    if rule == "ceil":
        return torch.ceil(places).to(torch.int64)
    rounded = torch.ceil(places - 0.5) if rule == "round_prefer_floor" else torch.floor(places + 0.5)
    return rounded.to(torch.int64)


@op("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """torch's own kernel, which the operator was modelled on; over two or three axes."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.string("mode", "linear"), "nearest")
    if x.ndim == 5 and mode == "bicubic":
        raise Unsupported("cubic sampling of volumes")
    return nn.grid_sample(x, grid, mode, call.string("padding_mode", "zeros"), call.integer("align_corners") == 1)
