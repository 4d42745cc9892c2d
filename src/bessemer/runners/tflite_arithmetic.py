"""TFLite's integer arithmetic in numpy, as LiteRT's reference kernels do it, bit for bit.

Sources: the LiteRT 8-bit quantization specification; Jacob et al., arXiv 1712.05877, section 2.2 and 2.4 (requantization by
a significand of 31 bits and a shift); the operators' own fixed points are described at each function. Everything was
found equal to the kernels by test, over random layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bessemer.ir.types import Array

LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}
RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
"""ActivationFunctionType of the schema."""


@dataclass(frozen=True)
class Meaning:
    """What a tensor's integers mean: scale float32 (1,) or one per index of `axis`, zero point of the only scale."""

    dtype: str
    scale: Array
    zero: int = 0
    axis: int = 0

    @property
    def one(self) -> np.float32:
        """The scale of a tensor with one."""
        return np.float32(self.scale[0])


def away(x: Array) -> Array:
    """Nearest integer, halves away from zero (C's round)."""
    return np.asarray(np.trunc(x + np.copysign(0.5, x)))


def multiplier(real: Array | float) -> tuple[Array, Array]:
    """A positive real number as significand / 2^31 * 2^shift, the significand in [2^30, 2^31)."""
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    significand = away(fraction * 2.0**31).astype(np.int64)
    full = significand == 2**31
    significand, shift = np.where(full, significand // 2, significand), shift.astype(np.int64) + full
    tiny = shift < -31
    return np.where(tiny, 0, significand), np.where(tiny, 0, shift)


def rescale(x: Array, factor: tuple[Array, Array]) -> Array:
    """x times a multiplier: the product's upper half rounded, then shifted with rounding, each to nearest.

    Halves go away from zero in both roundings; so a result may differ by one from the real product's nearest integer.
    """
    significand, shift = factor
    wide = x.astype(np.int64) << np.maximum(shift, 0)
    return shifted(high_product(wide, significand), np.maximum(-shift, 0))


def high_product(x: Array, y: Array) -> Array:
    """x y / 2^31 to the nearest integer."""
    product = x.astype(np.int64) * y
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))


def shifted(x: Array, right: Array | int) -> Array:
    """x / 2^right to the nearest integer, halves away from zero."""
    mask = (np.int64(1) << np.asarray(right, np.int64)) - 1
    over = (x & mask) > (mask >> 1) + (x < 0)
    return np.asarray((x >> right) + over)


def rescale_once(x: Array, factor: tuple[Array, Array]) -> Array:
    """x times a multiplier with one rounding, halves up: what FULLY_CONNECTED does with a scale for each channel."""
    significand, shift = factor
    total = 31 - shift
    return np.asarray((x.astype(np.int64) * significand + (np.int64(1) << (total - 1))) >> total)


def bounds(out: Meaning, activation: int = 0) -> tuple[int, int]:
    """Least and greatest integer that a fused activation leaves."""
    low, high = LIMITS[out.dtype]
    real = {RELU: (0.0, None), RELU_N1_TO_1: (-1.0, 1.0), RELU6: (0.0, 6.0)}.get(activation, (None, None))
    first, last = (None if end is None else out.zero + int(away(np.asarray(np.float32(end) / out.one))) for end in real)
    return low if first is None else max(low, first), high if last is None else min(high, last)


def stored(steps: Array, out: Meaning, activation: int = 0) -> Array:
    """Steps from zero as integers of the result."""
    low, high = bounds(out, activation)
    return np.asarray(np.clip(steps + out.zero, low, high).astype(out.dtype.lower()))


def product_factor(x: Meaning, w: Meaning, out: Meaning) -> tuple[Array, Array]:
    """Accumulator steps to steps of the result, one for each output channel."""
    return multiplier(np.float64(x.one) * w.scale.astype(np.float64) / np.float64(out.one))


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] = (1, 1)) -> Array:
    """(N, oh, ow, C, kh, kw) of a padded (N, H, W, C)."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return np.asarray(view[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]])


def padded(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], *, same: bool, fill: int = 0
) -> Array:
    """The input with SAME padding; as it is for VALID."""
    if not same:
        return x
    amounts = []
    for size, k, stride, dilation in zip(x.shape[1:3], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        amounts.append((total // 2, total - total // 2))
    return np.pad(x, [(0, 0), *amounts, (0, 0)], constant_values=fill)


def conv(
    x: Array, w: Array, b: Array | None, means: tuple[Meaning, Meaning, Meaning], strides: Sequence[int],
    dilations: Sequence[int], *, same: bool, activation: int, depthwise: bool = False,
) -> Array:  # fmt: skip
    """CONV_2D (w: O, kh, kw, I; groups by the ratio of channels) and DEPTHWISE_CONV_2D (w: 1, kh, kw, O).

    Sums of products of eight bits are exact in double precision, in which the product is fast.
    """
    kernel = w.shape[1:3]
    steps = padded(x.astype(np.float64) - means[0].zero, kernel, strides, dilations, same=same)
    view = windows(steps, kernel, strides, dilations)
    if depthwise:
        many = w.shape[3] // x.shape[3]
        total = np.einsum("nhwcyx,yxcm->nhwcm", view, w[0].reshape(*kernel, x.shape[3], many).astype(np.float64))
        total = total.reshape(*total.shape[:3], -1)
    else:
        groups = x.shape[3] // w.shape[3]
        parts = zip(np.split(view, groups, axis=3), np.split(w.astype(np.float64), groups), strict=True)
        total = np.concatenate([_summed(piece, part) for piece, part in parts], axis=-1)
    return _finished(total, b, means, activation)


def _summed(view: Array, w: Array) -> Array:
    flat = view.reshape(*view.shape[:3], -1)
    return np.asarray(flat @ w.transpose(3, 1, 2, 0).reshape(-1, w.shape[0]))


def _finished(
    total: Array, b: Array | None, means: tuple[Meaning, Meaning, Meaning], activation: int, *, once: bool = False
) -> Array:
    sums = total.astype(np.int64) + (0 if b is None else b.astype(np.int64))
    scaled = (rescale_once if once else rescale)(sums, product_factor(*means))
    return stored(scaled, means[2], activation)


def dense(
    x: Array, w: Array, b: Array | None, means: tuple[Meaning, Meaning, Meaning], *, activation: int
) -> Array:
    """FULLY_CONNECTED: rows of x times rows of w."""
    rows = (x.astype(np.float64) - means[0].zero).reshape(-1, w.shape[1])
    return _finished(rows @ w.T.astype(np.float64), b, means, activation, once=means[1].scale.size > 1)


def add(x: Array, y: Array, means: tuple[Meaning, Meaning, Meaning], *, activation: int, sign: int = 1) -> Array:
    """ADD and SUB: both operands 2^20 finer in units of twice the larger scale, summed, rescaled."""
    left, right, out = means
    twice = np.float64(2 * max(left.one, right.one))
    parts = [
        rescale((v.astype(np.int64) - mean.zero) << 20, multiplier(np.float64(mean.one) / twice))
        for v, mean in ((x, left), (y, right))
    ]
    total = parts[0] + sign * parts[1]
    return stored(rescale(total, multiplier(twice / (2.0**20 * np.float64(out.one)))), out, activation)


def mul(x: Array, y: Array, means: tuple[Meaning, Meaning, Meaning], *, activation: int) -> Array:
    """MUL; the factor is computed in single precision."""
    left, right, out = means
    product = (x.astype(np.int64) - left.zero) * (y.astype(np.int64) - right.zero)
    factor = multiplier(np.float64(np.float32(left.one * right.one) / out.one))
    return stored(rescale(product, factor), out, activation)


def average_pool(
    x: Array, mean: Meaning, kernel: Sequence[int], strides: Sequence[int], *, same: bool, activation: int
) -> Array:
    """AVERAGE_POOL_2D: sums of the integers as they are over the elements inside, halves away from zero."""
    ones = np.ones((1, *x.shape[1:3], 1), np.int64)
    total, count = (
        windows(padded(v, kernel, strides, (1, 1), same=same), kernel, strides).sum((-1, -2))
        for v in (x.astype(np.int64), ones)
    )
    steps = rounded_quotient(total, count)
    low, high = bounds(mean, activation)
    return np.asarray(np.clip(steps, low, high).astype(x.dtype))


def rounded_quotient(total: Array, count: Array | int) -> Array:
    """The nearest integer, halves away from zero."""
    half = np.asarray(count) // 2
    return np.asarray(np.where(total > 0, (total + half) // count, -((-total + half) // count)))


def max_pool(
    x: Array, mean: Meaning, kernel: Sequence[int], strides: Sequence[int], *, same: bool, activation: int
) -> Array:
    """MAX_POOL_2D."""
    low, high = bounds(mean, activation)
    wide = padded(x, kernel, strides, (1, 1), same=same, fill=LIMITS[mean.dtype][0])
    return np.asarray(np.clip(windows(wide, kernel, strides).max((-1, -2)), low, high).astype(x.dtype))


def requantized(x: Array, mean: Meaning, out: Meaning, activation: int = 0) -> Array:
    """QUANTIZE of integers, RELU, RELU6: another encoding, clamped."""
    factor = multiplier(np.float64(mean.one) / np.float64(out.one))
    return stored(rescale(x.astype(np.int64) - mean.zero, factor), out, activation)


def quantized(x: Array, out: Meaning) -> Array:
    """QUANTIZE of real numbers, in single precision, halves away from zero."""
    return stored(away(x.astype(np.float32) / out.one).astype(np.int64), out)


def table(x: Array, mean: Meaning, out: Meaning, function: str) -> Array:
    """LOGISTIC, TANH of eight bits: looked up; entries are computed in single precision."""
    low, high = LIMITS[mean.dtype]
    real = (np.arange(low, high + 1) - mean.zero).astype(np.float32) * mean.one
    made = np.float32(1) / (np.float32(1) + np.exp(-real)) if function == "LOGISTIC" else np.tanh(real)
    entries = stored(away(made * (np.float32(1) / out.one)).astype(np.int64), out)
    return np.asarray(entries[x.astype(np.int64) - low])


def mean_over(x: Array, mean: Meaning, out: Meaning, axes: Sequence[int], *, keep: bool) -> Array:
    """MEAN: the multiplier holds the count, shifted up as far as 31 bits go."""
    count = int(np.prod([x.shape[axis] for axis in axes]))
    total = (x.astype(np.int64) - mean.zero).sum(tuple(axes), keepdims=keep)
    significand, shift = multiplier(np.float64(mean.one) / np.float64(out.one))
    up = min(count.bit_length() - 1, 32, 31 + int(shift))
    factor = (significand << up) // count, shift - up
    return stored(rescale(total, factor), out)
