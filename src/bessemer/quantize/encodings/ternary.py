"""Weights of three values, -s, 0 and +s (Li et al., "Ternary Weight Networks", arXiv 1605.04711).

Threshold 0.7 mean|w|; s = mean of the magnitudes above it (section 2.2 there).
"""

from __future__ import annotations

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.types import Array
from bessemer.quantize.encodings.base import WHOLE, Format, Grain

THRESHOLD = 0.7


class Ternary(Format):
    """Codes -1, 0 and 1, held as INT2."""

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """The mean of the magnitudes above the threshold."""
        size = np.abs(real)
        mean = grain.reduce(size, np.sum) / grain.reduce(np.ones_like(size), np.sum)
        probe = grain.encoding(self.dtype, np.asarray(mean, np.float32), np.zeros(mean.shape))
        above = size > THRESHOLD * probe.spread(probe.scale, real.shape)
        count = np.maximum(grain.reduce(above.astype(np.float32), np.sum), 1)
        scale = grain.rounded(grain.reduce(np.where(above, size, 0), np.sum) / count)
        return grain.encoding(self.dtype, scale, np.zeros(scale.shape))

    def encode(self, real: Array, encoding: Encoding) -> Array:
        """Nearest of the three: zero below half a scale."""
        steps = real / encoding.spread(encoding.scale, real.shape)
        return np.clip(np.rint(steps), -1, 1).astype(np.int8)


FORMAT = Ternary("ternary", "INT2")
