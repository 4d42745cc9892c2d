"""Lowerings by operator. A family module in `ops/` registers its functions with `@lower`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from bessemer.targets.tflite.context import Context

Lowering = Callable[["Context", "ir.Node"], None]
Accepts = Callable[["Context", "ir.Node"], bool]


@dataclass(frozen=True)
class Entry:
    """How one operator is lowered; `integer` says whether its integer kernel is legal for this node."""

    function: Lowering
    integer: Accepts | None = None


LOWERINGS: dict[tuple[str, str], Entry] = {}


def lower(*op_types: str, domain: str = "", integer: Accepts | None = None) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for these operators."""

    def register(function: Lowering) -> Lowering:
        for op_type in op_types:
            key = (domain, op_type)
            if key in LOWERINGS:
                raise ValueError(
                    f"{op_type} is lowered twice: {LOWERINGS[key].function.__module__}, {function.__module__}"
                )
            LOWERINGS[key] = Entry(function, integer)
        return function

    return register


def find(node: ir.Node) -> Entry | None:
    """The lowering of a node's operator, None when the target has none."""
    load()
    return LOWERINGS.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))


@cache
def load() -> None:
    """Import every family once."""
    from bessemer.targets.tflite import ops

    for module in iter_modules(ops.__path__):
        import_module(f"{ops.__name__}.{module.name}")
