"""The registered rewrites."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from bessemer.passes.expansion import Expansion, expand_node

if TYPE_CHECKING:
    import onnx_ir as ir

REWRITES: dict[str, Expansion] = {}
NEEDS: dict[str, str] = {}
"""What the rewrite of an operator asks for, as the end of a sentence."""


def expand(*op_types: str, needs: str) -> Callable[[Expansion], Expansion]:
    """Register the decorated function for these operators of ai.onnx; `needs` says when it applies, for blockers."""

    def register(function: Expansion) -> Expansion:
        for op_type in op_types:
            REWRITES[op_type], NEEDS[op_type] = function, needs
        return function

    return register


def rewrite(node: ir.Node) -> bool:
    """Replace `node` by its registered rewrite; False when there is none or it does not apply."""
    _load()
    function = REWRITES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return function is not None and expand_node(node, function)


@cache
def _load() -> None:
    """Import every module of rewrites once."""
    package = __name__.rpartition(".")[0]
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
