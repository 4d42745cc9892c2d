"""The mel filter bank and the cosine transform of TensorFlow's `Mfcc` operator.

Facts from tensorflow/core/kernels/mfcc_mel_filterbank.cc and mfcc_dct.cc: bands are triangles on the scale
1127 ln(1 + f / 700); the bins of the spectrum are weighted by where they lie between two bands' centres.
"""

from __future__ import annotations

import numpy as np

from bessemer.ir.types import Array


def _mel(hertz: Array | float) -> Array:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def mel_weights(bins: int, rate: float, bands: int, low: float, high: float) -> Array:
    """[bins, bands] (float64): what each bin of a magnitude spectrum adds to each band."""
    centres = _mel(low) + (_mel(high) - _mel(low)) / (bands + 1) * np.arange(1, bands + 2)
    hertz = 0.5 * rate / (bins - 1)
    first, last = int(1.5 + low / hertz), int(high / hertz)
    table = np.zeros((bins, bands))
    for place in range(max(first, 0), min(last, bins - 1) + 1):
        mel = float(_mel(place * hertz))
        band = int(np.searchsorted(centres, mel, side="left")) - 1  # the centre below
        above = centres[min(band + 1, bands)]
        below = centres[band] if band >= 0 else float(_mel(low))
        share = (above - mel) / (above - below) if above > below else 0.0  # beyond the last band nothing counts
        if 0 <= band < bands:
            table[place, band] += share
        if band + 1 < bands:
            table[place, band + 1] += 1.0 - share
    return table


def cosines(bands: int, count: int) -> Array:
    """[bands, count] (float64): the discrete cosine transform, type 2."""
    arguments = np.arange(count)[None, :] * (np.arange(bands)[:, None] + 0.5) * np.pi / bands
    return np.asarray(np.sqrt(2.0 / bands) * np.cos(arguments))
