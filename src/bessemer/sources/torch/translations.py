"""Operators of torch that its own exporter has no translation for, or a wrong one."""

from __future__ import annotations

from typing import Any


def table() -> dict[Any, Any]:
    """torch operator -> a function that draws it with onnxscript's operators."""
    return {}
