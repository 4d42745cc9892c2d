"""Functions of each element in float32."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from bessemer.ir.decoder import Activation
from bessemer.runners.decoder.tables import Floats

Doubles = npt.NDArray[np.float64]
GRID = 1 << 16
EDGE = 4.0
"""erf is 1 to float32's last digit from here on."""


def activated(x: Floats, kind: Activation) -> Floats:
    """The function as transformers computes it. Raises KeyError for an unknown one."""
    made: Floats = _FUNCTIONS[kind](x)
    return made


def softmax(x: Floats) -> Floats:
    """Over the last axis, in place."""
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    made: Floats = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return made


@cache
def _error_function() -> tuple[Doubles, Doubles]:
    places: Doubles = np.linspace(-EDGE, EDGE, GRID + 1)
    return places, np.array([math.erf(place) for place in places])


def _gelu(x: Floats) -> Floats:
    """x / 2 (1 + erf(x / sqrt 2)); linear between 65,537 points, which is right to 2e-9."""
    bent: Doubles = np.interp(x.astype(np.float64) * math.sqrt(0.5), *_error_function())
    share: Floats = (0.5 + 0.5 * bent).astype(np.float32)
    made: Floats = x * share
    return made


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    bent: Floats = np.tanh(inner)
    made: Floats = np.float32(0.5) * x * (np.float32(1) + bent)
    return made


def _silu(x: Floats) -> Floats:
    made: Floats = x * sigmoid(x)
    return made


def _relu(x: Floats) -> Floats:
    made: Floats = np.maximum(x, np.float32(0))
    return made


def _relu2(x: Floats) -> Floats:
    made: Floats = np.square(_relu(x))
    return made


def _tanh(x: Floats) -> Floats:
    made: Floats = np.tanh(x)
    return made


_FUNCTIONS = {
    "silu": _silu, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu, "relu2": _relu2, "tanh": _tanh, "sigmoid": sigmoid,
}  # fmt: skip
