"""`Node`, as readers of operators know it."""

from bessemer.wire.savedmodel.node import Node

__all__ = ["Node"]
