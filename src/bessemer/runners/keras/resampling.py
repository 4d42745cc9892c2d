"""Resizing axis by axis in NumPy, pixel centres at halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bessemer.ir.types import Array

REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


def resampled(x: Array, sizes: Sequence[int], method: str, antialias: bool = False) -> Array:
    """x (batch, *old, channels) at `sizes`."""
    for axis, size in enumerate(sizes, 1):
        x = _along(x, axis, size, method, antialias)
    return x


def _along(x: Array, axis: int, size: int, method: str, antialias: bool) -> Array:
    have = x.shape[axis]
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (np.float32(have) / np.float32(size))
    if method == "nearest":
        taken: Array = np.take(x, np.minimum(np.floor(centres).astype(int), have - 1), axis=axis)
        return taken
    wide = max(have / size, 1.0) if antialias else 1.0
    rows = [_mixed(x, axis, float(centre), wide, method, antialias) for centre in centres]
    return np.stack(rows, axis=axis).astype(x.dtype if x.dtype.kind == "f" else np.float32)


def _mixed(x: Array, axis: int, centre: float, wide: float, method: str, antialias: bool) -> Array:
    """The weighted sum of the pixels that the kernel around a place reaches; those beyond the border do not weigh."""
    place = centre - 0.5
    if method == "bicubic" and not antialias:  # TensorFlow looks this kernel up in a table of 1024 steps
        place = np.floor(place) + np.rint((place - np.floor(place)) * 1024) / 1024
    if method == "bilinear" and not antialias:  # pixels beyond the border are the border's
        place = min(max(place, 0.0), x.shape[axis] - 1.0)
    taken = np.arange(x.shape[axis])
    weights = _kernel(np.abs(taken - place) / wide, method)
    made: Array = np.tensordot(x, weights / weights.sum(), ([axis], [0]))
    return made


def _kernel(gap: Array, method: str) -> Array:
    reach = REACH[method]
    if method == "bilinear":
        inside = 1 - gap
    elif method == "bicubic":
        inside = np.where(gap < 1, 1.5 * gap**3 - 2.5 * gap**2 + 1, -0.5 * gap**3 + 2.5 * gap**2 - 4 * gap + 2)
    else:
        inside = np.sinc(gap) * np.sinc(gap / reach)
    made: Array = np.where(gap < reach, inside, 0.0)
    return made
