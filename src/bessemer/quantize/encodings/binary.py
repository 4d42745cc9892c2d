"""Weights of two values, -s and +s: s = mean|w| (least squares: Rastegari et al., arXiv 1603.05279, section 3.1)."""

from __future__ import annotations

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.types import Array
from bessemer.quantize.encodings.base import WHOLE, Format, Grain


class Binary(Format):
    """Codes -1 and 1, held as INT2; the sign of zero is plus."""

    def fit(self, real: Array, grain: Grain = WHOLE) -> Encoding:
        """The mean magnitude of what shares a scale."""
        size = np.abs(real)
        total, count = grain.reduce(size, np.sum), grain.reduce(np.ones_like(size), np.sum)
        scale = grain.rounded(total / count)
        return grain.encoding(self.dtype, scale, np.zeros(scale.shape))

    def encode(self, real: Array, encoding: Encoding) -> Array:
        """The sign."""
        return np.where(real >= 0, np.int8(1), np.int8(-1))


FORMAT = Binary("binary", "INT2")
