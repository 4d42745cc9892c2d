"""Decomposed spellings that exporters write become the operators they spell.

A family module registers its rules with `@fuses("Anchor", ...)`; a rule looks at one node of a rare kind and at its
neighbours, so a graph without that kind costs nothing. The rules work on the graph itself: importing a general
rewriter would take longer than all of them together.

Scaled-dot-product attention is left out on purpose. The standard's Attention gives zeros for a row that is masked
away as a whole; the plain spelling gives NaN there, and only torch's newer exports write the guard that makes both
equal. Files of opset 21, the default, and LiteRT would have to spell it out again, for which the standard's body takes
some 66 nodes in place of 5, and ONNX Runtime 1.31 computes its own kernel no faster on the CPU (1.5 ms against 1.4 ms
for 12 heads of 197 x 64, one thread).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bessemer.passes.base import PassResult

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Fuse:
    """Activations, normalizations, padding and products in their own operators; declined near misses are named."""

    name: ClassVar[str] = "fuse"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """One sweep in the order of the graph: what an early rule makes, a later one sees."""
        from bessemer.passes.fuse.match import rules

        table = rules()
        changed, declined = 0, []
        for node in list(graph.graph.all_nodes()):
            if node.domain not in ("", "ai.onnx"):
                continue
            for rule in table.get(node.op_type, ()):
                if node.graph is None:
                    break  # swallowed by the rule before
                outcome = rule(node)
                reason = outcome if isinstance(outcome, str) else outcome.apply() if outcome else None
                changed += reason == ""
                if reason:
                    declined.append(reason)
        return PassResult(changed, tuple(dict.fromkeys(declined)))
