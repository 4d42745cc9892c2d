"""The registry of expansions, and what they ask of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.passes.expansion import Expansion

if TYPE_CHECKING:
    import onnx_ir

EXPANSIONS: dict[str, list[tuple[int, Expansion]]] = {}


def expansion(below: int, *ops: str) -> Callable[[Expansion], Expansion]:
    """Register the decorated function for opsets under `below`."""

    def register(function: Expansion) -> Expansion:
        for op in ops:
            EXPANSIONS.setdefault(op, []).append((below, function))
        return function

    return register


def numpy_type(value: onnx_ir.Value | None) -> np.dtype[Any] | None:
    """The numpy type of a tensor; None when it is not known or has none."""
    if value is None or value.dtype is None or value.dtype.name in ("STRING", "UNDEFINED"):
        return None
    return np.dtype(value.dtype.numpy())


def onnx_type(value: onnx_ir.Value) -> onnx_ir.DataType:
    """The type of a value that is known to have one."""
    if value.dtype is None:
        raise ValueError(f"'{value.name}' has no type")
    return value.dtype


def rank_of(value: onnx_ir.Value | None) -> int | None:
    """The number of axes, where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def given(node: onnx_ir.Node, place: int) -> onnx_ir.Value | None:
    """Input `place`, None where it was left out."""
    return node.inputs[place] if place < len(node.inputs) else None
