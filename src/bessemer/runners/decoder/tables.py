"""Numbers that a decoder's positions stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bessemer.ir.decoder import Rope

Floats = npt.NDArray[np.float32]


def frequencies(rope: Rope) -> Floats:
    """Radians per position of each pair, [dims / 2], in the float32 steps of transformers: 1 / theta^(2 i / dims)."""
    if rope.inverse:
        return np.asarray(rope.inverse, np.float32)
    exponents = np.arange(0, rope.dims, 2, dtype=np.float32) / np.float32(rope.dims)
    held: Floats = np.float32(1) / np.power(np.float32(rope.theta), exponents)
    return held


def slopes(heads: int, bias: float) -> Floats:
    """ALiBi's slope of each head (Press et al. 2022, section 3; `bias` is 8 there): powers of 2^(-bias / n) for the
    largest power of two n in `heads`, then every second one of those for 2 n."""
    whole = 1 << (heads.bit_length() - 1)
    first = [2.0 ** (-bias * (place + 1) / whole) for place in range(whole)]
    rest = [2.0 ** (-bias * (2 * place + 1) / (2 * whole)) for place in range(heads - whole)]
    return np.array(first + rest, np.float32)


def turns(rope: Rope, positions: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Cosines and sines of positions [...], [..., dims / 2]."""
    angles = positions[..., None].astype(np.float32) * frequencies(rope)
    magnitude = np.float32(rope.magnitude)
    return np.cos(angles) * magnitude, np.sin(angles) * magnitude
