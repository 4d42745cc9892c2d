"""Which numpy function evaluates which TensorFlow operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from bessemer.ir.types import Array
from bessemer.wire.savedmodel.node import Node

Evaluator = Callable[[Node, Sequence[Array]], "Array | Sequence[Array]"]

_EVALUATORS: dict[str, Evaluator] = {}


def evaluates(*names: str) -> Callable[[Evaluator], Evaluator]:
    """Register the evaluator of operators, by their names in a GraphDef."""

    def register(run: Evaluator) -> Evaluator:
        for name in names:
            _EVALUATORS[name] = run
        return run

    return register


@cache
def evaluators() -> dict[str, Evaluator]:
    """All evaluators by operator name."""
    from bessemer.runners.tensorflow import ops

    for found in iter_modules(ops.__path__):
        import_module(f"{ops.__name__}.{found.name}")
    return _EVALUATORS
