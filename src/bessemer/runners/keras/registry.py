"""Which function evaluates which layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer

    Result = Array | Sequence[Array]
    Evaluator = Callable[[Layer, Sequence[Array]], Result]

FAMILIES = (
    "activation", "attention", "convolution", "core", "functions", "merging", "normalization", "pooling",
    "preprocessing", "recurrent", "reshaping",
)  # fmt: skip
_EVALUATORS: dict[str, Evaluator] = {}


def evaluates(*names: str) -> Callable[[Evaluator], Evaluator]:
    """Register the evaluator of layers, by class name in any generation of Keras."""

    def register(evaluator: Evaluator) -> Evaluator:
        for name in names:
            _EVALUATORS[name] = evaluator
        return evaluator

    return register


@cache
def evaluators() -> dict[str, Evaluator]:
    """All evaluators by class name."""
    for family in FAMILIES:
        import_module(f"bessemer.runners.keras.{family}")
    return _EVALUATORS
