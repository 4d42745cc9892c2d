"""Which function reads which operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bessemer.ir.registry import Registry

if TYPE_CHECKING:
    from bessemer.sources.drawing import Canvas, Ordered
    from bessemer.sources.tensorflow.node import Node

Reader = Callable[["Canvas", "Node", "Sequence[Ordered]"], "Ordered | Sequence[Ordered]"]
"""Draws one node; raises `drawing.Unsupported` where it has no meaning in the hub."""

op: Registry[Reader] = Registry("bessemer.sources.tensorflow.ops")
"""Register the reader of operators, by their names in a GraphDef."""

readers = op.table
"""All readers by operator name."""
