"""A node of a GraphDef, its attributes decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """attrs: int, float, bool, str; numpy dtypes for types (ml_dtypes for bfloat16); shapes as tuples of int or None,
    or None where the rank is unknown; tensors as arrays; functions by name; lists of these.

    inputs: data operands as 'node' or 'node:1'; controls: nodes that must run before.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: dict[str, Any]
    controls: tuple[str, ...] = ()
