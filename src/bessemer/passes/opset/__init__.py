"""Between ai.onnx opsets 7 and the newest, both ways, on the graph itself: weights are never serialised.

A node moves one change of its operator at a time. A change is an adapter (`upgrades`, `downgrades`), or harmless: the
later schema only widens what the earlier one says, which is checked against the real types and attributes. On the way
down, what an old opset lacks is first said in other operators (`expansions`, the standard's function bodies).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bessemer.passes.base import PassResult

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class ConvertOpset:
    """Rewrite every node for opset `version`; `declined` names what cannot be said there."""

    name: ClassVar[str] = "convert-opset"
    version: int = 21

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """In place; the import is set only when nothing was declined."""
        from bessemer.ir.canonical import OPSET
        from bessemer.passes.opset.expand import expand

        have = opset_of(graph)
        if not have or have == self.version:
            return PassResult()
        changed = 0
        if self.version < have and have >= OPSET:  # expansions are written in canonical words
            changed += expand(graph, have, self.version)
        result = convert_nodes(graph, have, self.version)
        declined = list(result.lines)
        if not declined:
            _stamp(graph, self.version)
        return PassResult(changed + result.changed + int(not declined), tuple(dict.fromkeys(declined)))


def opset_of(graph: onnx_ir.Model) -> int:
    """The opset of ai.onnx that the graph is written in; 0 where it uses none."""
    return graph.graph.opset_imports.get("", graph.graph.opset_imports.get("ai.onnx", 0))


@dataclass(frozen=True)
class Conversion:
    """What became of all nodes: how many rewrites, and who was refused why."""

    changed: int
    refused: tuple[tuple[onnx_ir.Node, str], ...]

    @property
    def lines(self) -> Iterator[str]:
        """One line for each refusal."""
        for node, reason in self.refused:
            yield f"{node.op_type} '{node.name}': {reason}"


def convert_nodes(graph: onnx_ir.Model, have: int, want: int) -> Conversion:
    """Every node from opset `have` to `want` in place, those included that are made on the way."""
    changed, refused = 0, []
    seen: set[onnx_ir.Node] = set()
    while fresh := [node for node in nodes_of(graph) if node not in seen]:
        seen.update(fresh)
        for node in fresh:
            outcome = _convert(node, have, want)
            changed += outcome.changed
            if outcome.reason:
                refused.append((node, outcome.reason))
        if refused or want > have:
            break  # upgrades write in the new words already; bodies and neighbours made on the way down do not
    return Conversion(changed, tuple(refused))


@dataclass(frozen=True)
class _Outcome:
    changed: int = 0
    reason: str = ""


def nodes_of(graph: onnx_ir.Model) -> Iterator[onnx_ir.Node]:
    """All nodes of ai.onnx, subgraphs and functions included."""
    for node in graph.graph.all_nodes():
        if node.domain in ("", "ai.onnx"):
            yield node
    for function in graph.functions.values():
        for node in function.all_nodes():
            if node.domain in ("", "ai.onnx"):
                yield node


def _stamp(graph: onnx_ir.Model, version: int) -> None:
    for imports in (graph.graph.opset_imports, *(f.opset_imports for f in graph.functions.values())):
        imports.pop("ai.onnx", None)
        imports[""] = version
    for subgraph in graph.graph.subgraphs():
        if "" in subgraph.opset_imports:
            subgraph.opset_imports[""] = version


def _convert(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    return _raise(node, have, want) if want > have else _lower(node, have, want)


def _raise(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    from bessemer.passes.opset.adapters import UPGRADES
    from bessemer.passes.opset.schemas import exists

    changed = 0
    for version in range(have + 1, want + 1):
        adapter = UPGRADES.get((node.op_type, version))
        if adapter is None:
            continue
        reason = adapter(node)
        if reason:
            return _Outcome(changed, reason)
        changed += 1
    if not exists(node.op_type, want):
        return _Outcome(changed, f"there is no such operator at opset {want}")
    return _Outcome(changed)


def _lower(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    from bessemer.passes.opset.adapters import DOWNGRADES
    from bessemer.passes.opset.schemas import exists, illegal
    from bessemer.passes.opset.widen import widen

    changed = 0
    for version in range(have, want, -1):
        adapter = DOWNGRADES.get((node.op_type, version))
        if adapter is not None:
            reason = adapter(node)
            if reason:
                return _Outcome(changed, f"at opset {want} {reason}")
            changed += 1
    if not exists(node.op_type, want):
        return _inline(node, have, changed)
    return _Outcome(changed, illegal(node, want) or widen(node, want))


def refusable(node: onnx_ir.Node, have: int, want: int) -> bool:
    """Whether `convert_nodes` could refuse the node: quick, and never wrong when it says no.

    Attributes that say only what their absence would are removed.
    """
    from bessemer.passes.opset.adapters import DOWNGRADES, UPGRADES
    from bessemer.passes.opset.schemas import exists, illegal, wrong_type

    table, steps = (UPGRADES, range(have + 1, want + 1)) if want > have else (DOWNGRADES, range(want + 1, have + 1))
    if any((node.op_type, version) in table for version in steps) or not exists(node.op_type, want):
        return True
    return want < have and bool(illegal(node, want) or wrong_type(node, want))


def _inline(node: onnx_ir.Node, have: int, changed: int) -> _Outcome:
    """An operator that came later is replaced by its function body, if that can be said."""
    from bessemer.passes.decompose import inline_function_body
    from bessemer.passes.opset.schemas import history

    if inline_function_body(node, have):
        return _Outcome(changed + 1)
    first = history(node.op_type)
    return _Outcome(changed, f"it came with opset {first[0] if first else '?'} and has no decomposition")
