"""Which function computes which operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.wire.savedmodel.node import Node

Evaluator = Callable[["Node", "Sequence[Array]"], "Array | Sequence[Array]"]

FAMILIES = (
    "convolution", "detection", "elementwise", "image", "linear", "normalization", "quantization", "reduce",
    "select", "shaping", "signal", "slicing",
)  # fmt: skip
_EVALUATORS: dict[str, Evaluator] = {}


def evaluates(*names: str) -> Callable[[Evaluator], Evaluator]:
    """Register the reference evaluator of operators, by their names in a GraphDef."""

    def register(function: Evaluator) -> Evaluator:
        for name in names:
            _EVALUATORS[name] = function
        return function

    return register


@cache
def evaluators() -> dict[str, Evaluator]:
    """All evaluators by operator name."""
    for family in FAMILIES:
        import_module(f"bessemer.runners.tensorflow.{family}")
    return _EVALUATORS
