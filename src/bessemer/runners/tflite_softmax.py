"""The 8-bit softmax of LiteRT's reference kernels, in fixed point.

Source of the polynomials and constants: gemmlowp, fixedpoint/fixedpoint.h (exp on negative values by a barrel shifter
over a quarter's Taylor polynomial; 1 / (1 + x) by three Newton steps). Numbers are int64 arrays holding 32-bit fixed
points with 31 minus so many integer bits of fraction.
"""

from __future__ import annotations

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tflite_arithmetic import Meaning, high_product, multiplier, rescale, shifted, stored

DIFFERENCE, SUM = 5, 12
"""Integer bits of scaled differences and of the sum of exponentials."""

ONE = 2**31 - 1
BARREL = (
    (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242),
)  # fmt: skip
"""exp(-2^e) for each bit of the remainder, no integer bits."""


def saturated(x: Array) -> Array:
    """Within 32 bits."""
    return np.clip(x, -(2**31), 2**31 - 1)


def exp_of_negatives(a: Array) -> Array:
    """exp(a) without integer bits, of a <= 0 with `DIFFERENCE` integer bits."""
    quarter = 1 << (31 - DIFFERENCE - 2)
    rest = (a & (quarter - 1)) - quarter
    found = _near_zero(saturated(rest << DIFFERENCE))
    remainder = rest - a
    for exponent, factor in BARREL:
        bit = 1 << (31 - DIFFERENCE + exponent)
        found = np.where(remainder & bit, high_product(found, np.asarray(factor)), found)
    return np.asarray(np.where(a == 0, ONE, found))


def _near_zero(a: Array) -> Array:
    """exp on [-1/4, 0): the Taylor polynomial about -1/8."""
    constant, third = np.asarray(1895147668), np.asarray(715827883)
    x = a + (1 << 28)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    tail = shifted(high_product(shifted(x4, 2) + x3, third) + x2, 1)
    return saturated(constant + high_product(constant, x + tail))


def reciprocal(x: Array) -> tuple[Array, Array]:
    """(1 / x without integer bits, bits that x has over one) of a sum with `SUM` integer bits."""
    zeros = 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
    above = (x << zeros) - (1 << 31)
    half = (above + ONE + 1) // 2
    y = 1515870810 + high_product(half, np.asarray(-1010580540))
    for _ in range(3):
        y = y + saturated(high_product(y, (1 << 29) - high_product(half, y)) << 2)
    return saturated(y << 1), SUM - zeros


def softmax(x: Array, mean: Meaning, out: Meaning, beta: float) -> Array:
    """SOFTMAX of eight bits along the last axis."""
    real = min(float(beta) * float(mean.one) * 2.0 ** (31 - DIFFERENCE), 2.0**31 - 1)
    significand, shift = multiplier(real)
    least = -int(np.floor((2**DIFFERENCE - 1) * 2.0 ** (31 - DIFFERENCE) / 2.0 ** int(shift)))
    difference = x.astype(np.int64) - x.max(-1, keepdims=True)
    counted = difference >= least
    powers = exp_of_negatives(rescale(np.where(counted, difference, 0), (significand, shift)))
    total = np.where(counted, shifted(powers, SUM), 0).sum(-1, keepdims=True)
    scale, over = reciprocal(total)
    steps = shifted(high_product(np.broadcast_to(scale, powers.shape), powers), over + 31 - 8)
    return stored(np.where(counted, steps, 0), out)
