"""Canonical form: functions inlined, constants as initializers, no Identity, no dead code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bessemer.passes.base import PassResult
from bessemer.passes.eliminate import Eliminate

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Canonicalize:
    """Structure that carries no meaning is removed; names at the border never change."""

    name: ClassVar[str] = "canonicalize"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        from onnx_ir.passes import common

        changed = 0
        for step in (
            common.InlinePass(),
            common.RemoveInitializersFromInputsPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.TopologicalSortPass(),
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]  # onnx-ir leaves it unannotated
        ):
            changed += bool(step(graph).modified)
        changed += Eliminate().run(graph).changed
        return PassResult(changed)
