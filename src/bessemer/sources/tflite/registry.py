"""Which function reads which builtin operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bessemer.ir.registry import Registry

if TYPE_CHECKING:
    from bessemer.sources.tflite.context import Context
    from bessemer.wire.tflite.records import Operator

Reader = Callable[["Context", "Operator"], None]

op: Registry[Reader] = Registry("bessemer.sources.tflite.ops")
"""Register the reader of builtin operators, by their names in the schema."""

readers = op.table
"""All readers by operator name."""
