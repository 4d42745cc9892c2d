"""Which numpy function evaluates which TensorFlow operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bessemer.ir.registry import Registry
from bessemer.ir.types import Array
from bessemer.wire.savedmodel.node import Node

Evaluator = Callable[[Node, Sequence[Array]], "Array | Sequence[Array]"]

evaluates: Registry[Evaluator] = Registry("bessemer.runners.tensorflow.ops")
"""Register the evaluator of operators, by their names in a GraphDef."""

evaluators = evaluates.table
"""All evaluators by operator name."""
