"""Which function evaluates which layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING

from bessemer.ir.registry import Registry

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer

    Result = Array | Sequence[Array]
    Evaluator = Callable[[Layer, Sequence[Array]], Result]

FAMILIES = (
    "activation", "attention", "convolution", "core", "functions", "merging", "normalization", "pooling",
    "preprocessing", "recurrent", "reshaping",
)  # fmt: skip
HALVES = ("float16", "bfloat16")
_evaluators: Registry[Evaluator] = Registry("bessemer.runners.keras", FAMILIES)


def evaluates(*names: str) -> Callable[[Evaluator], Evaluator]:
    """Register the evaluator of layers, by class name in any generation of Keras. It sees halves as float32."""

    def register(evaluator: Evaluator) -> Evaluator:
        @wraps(evaluator)
        def wide(layer: Layer, inputs: Sequence[Array]) -> Result:
            if any(array.dtype.name in HALVES for array in layer.weights):
                layer = replace(layer, weights=tuple(map(_wide, layer.weights)))
            return evaluator(layer, [_wide(array) for array in inputs])

        _evaluators(*names)(wide)
        return evaluator

    return register


def _wide(array: Array) -> Array:
    return array.astype("float32") if array.dtype.name in HALVES else array


evaluators = _evaluators.table
"""All evaluators by class name."""
