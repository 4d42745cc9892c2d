"""Which function reads which builtin operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.sources.tflite.context import Context
    from bessemer.wire.tflite.records import Operator

Reader = Callable[["Context", "Operator"], None]

FAMILIES = (
    "control", "conv", "detection", "elementwise", "linear", "pooling", "quantization", "recurrent", "reduce",
    "resources", "select", "sequence", "shaping", "signal", "spatial",
)  # fmt: skip
_READERS: dict[str, Reader] = {}


def op(*names: str) -> Callable[[Reader], Reader]:
    """Register the reader of builtin operators, by their names in the schema."""

    def register(reader: Reader) -> Reader:
        for name in names:
            _READERS[name] = reader
        return reader

    return register


@cache
def readers() -> dict[str, Reader]:
    """All readers by operator name."""
    for family in FAMILIES:
        import_module(f"bessemer.sources.tflite.ops.{family}")
    return _READERS
