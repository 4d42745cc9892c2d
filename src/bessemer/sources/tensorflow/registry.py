"""Which function reads which operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.sources.drawing import Canvas, Ordered
    from bessemer.sources.tensorflow.node import Node

Reader = Callable[["Canvas", "Node", "Sequence[Ordered]"], "Ordered | Sequence[Ordered]"]
"""Draws one node; raises `drawing.Unsupported` where it has no meaning in the hub."""

FAMILIES = (
    "activations", "arithmetic", "compare", "conv", "detection", "image", "linear", "normalization",
    "passing", "pooling", "quantization", "recurrent", "reduce", "refused", "select", "shaping", "signal", "slicing",
)  # fmt: skip
_READERS: dict[str, Reader] = {}


def op(*names: str) -> Callable[[Reader], Reader]:
    """Register the reader of operators, by their names in a GraphDef."""

    def register(reader: Reader) -> Reader:
        for name in names:
            _READERS[name] = reader
        return reader

    return register


@cache
def readers() -> dict[str, Reader]:
    """All readers by operator name."""
    for family in FAMILIES:
        import_module(f"bessemer.sources.tensorflow.ops.{family}")
    return _READERS
