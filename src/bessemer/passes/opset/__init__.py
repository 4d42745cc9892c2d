"""Between ai.onnx opsets 7 and the newest, both ways, on the graph itself: weights are never serialised.

A node moves one change of its operator at a time. A change is an adapter (`upgrades`, `downgrades`), or harmless: the
later schema only widens what the earlier one says, which is checked against the real types and attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

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
        from bessemer.passes.opset import downgrades, spell, upgrades  # noqa: F401  # registers the adapters

        have = graph.graph.opset_imports.get("", graph.graph.opset_imports.get("ai.onnx", 0))
        if not have or have == self.version:
            return PassResult()
        changed, declined = 0, []
        seen: set[onnx_ir.Node] = set()
        while fresh := [node for node in _nodes(graph) if node not in seen]:
            seen.update(fresh)
            for node in fresh:
                outcome = _convert(node, have, self.version)
                changed += outcome.changed
                if outcome.reason:
                    declined.append(f"{node.op_type} '{node.name}': {outcome.reason}")
            if declined or self.version > have:
                break  # upgrades write in the new words already; bodies and neighbours made on the way down do not
        if not declined:
            _stamp(graph, self.version)
        return PassResult(changed + int(not declined), tuple(dict.fromkeys(declined)))


@dataclass(frozen=True)
class _Outcome:
    changed: int = 0
    reason: str = ""


def _nodes(graph: onnx_ir.Model) -> Iterator[onnx_ir.Node]:
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


@cache
def _history(op: str) -> tuple[int, ...]:
    """Opsets at which the operator came or changed, rising."""
    import onnx.defs

    versions = {
        s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.name == op
    }
    return tuple(sorted(versions))


def _convert(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    return _raise(node, have, want) if want > have else _lower(node, have, want)


def _raise(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    from bessemer.passes.opset.registry import UPGRADES

    changed = 0
    for version in range(have + 1, want + 1):
        adapter = UPGRADES.get((node.op_type, version))
        if adapter is None:
            continue
        reason = adapter(node)
        if reason:
            return _Outcome(changed, reason)
        changed += 1
    if not any(version <= want for version in _history(node.op_type)):
        return _Outcome(changed, f"there is no such operator at opset {want}")
    return _Outcome(changed)


def _lower(node: onnx_ir.Node, have: int, want: int) -> _Outcome:
    from bessemer.passes.opset.registry import DOWNGRADES

    changed = 0
    for version in range(have, want, -1):
        adapter = DOWNGRADES.get((node.op_type, version))
        if adapter is not None:
            reason = adapter(node)
            if reason:
                return _Outcome(changed, f"at opset {want} {reason}")
            changed += 1
    if not any(version <= want for version in _history(node.op_type)):
        return _expand(node, have, want, changed)
    reason = _illegal(node, want)
    return _Outcome(changed, reason)


def _expand(node: onnx_ir.Node, have: int, want: int, changed: int) -> _Outcome:
    """An operator that came later is replaced by its function body, if that can be said."""
    from bessemer.passes.decompose import inline_function_body

    if inline_function_body(node, have):
        return _Outcome(changed + 1)
    first = _history(node.op_type)
    return _Outcome(changed, f"it came with opset {first[0] if first else '?'} and has no decomposition")


def _illegal(node: onnx_ir.Node, version: int) -> str:
    """Why the schema of `version` does not accept the node as it stands; '' when it does."""
    import onnx.defs

    schema = onnx.defs.get_schema(node.op_type, version)
    for name, attribute in list(node.attributes.items()):
        if name in schema.attributes:
            continue
        if _is_default(node, name, attribute):
            del node.attributes[name]
            continue
        return f"its attribute '{name}' does not exist at opset {version}"
    given = [value for value in node.inputs if value is not None]
    if len(given) > schema.max_input:
        return f"it has {len(given)} inputs, at opset {version} there are at most {schema.max_input}"
    return _missing(node, schema, version) or _wrong_type(node, schema, version)


def _missing(node: onnx_ir.Node, schema: Any, version: int) -> str:
    """Which input must be there, or which output is one too many; '' when the counts are right."""
    import onnx.defs

    if len(node.outputs) > schema.max_output:
        if any(value.uses() or value.is_graph_output() for value in node.outputs[schema.max_output :]):
            return f"its output {schema.max_output} does not exist at opset {version}"
        node.resize_outputs(schema.max_output)
    for place, formal in enumerate(schema.inputs):
        if formal.option != onnx.defs.OpSchema.FormalParameterOption.Single:
            continue
        if place >= len(node.inputs) or node.inputs[place] is None:
            return f"its input '{formal.name}' may not be left out at opset {version}"
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in node.attributes:
            return f"opset {version} asks for its attribute '{name}'"
    return ""


def _is_default(node: onnx_ir.Node, name: str, attribute: Any) -> bool:
    """Whether an attribute says only what its absence would (in the newest schema)."""
    import onnx.defs
    import onnx.helper

    newest = onnx.defs.get_schema(node.op_type).attributes.get(name)
    if newest is None or not newest.default_value.name:
        return False
    default = onnx.helper.get_attribute_value(newest.default_value)
    default = default.decode() if isinstance(default, bytes) else default
    return bool(attribute.value == default)


def _wrong_type(node: onnx_ir.Node, schema: Any, version: int) -> str:
    allowed = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
    for place, value in enumerate(node.inputs):
        if (
            value is None
            or value.dtype is None
            or value.type is None
            or "Tensor" not in type(value.type).__name__
        ):
            continue
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        types = allowed.get(formal.type_str, {formal.type_str})
        said = f"tensor({value.dtype.name.lower()})"
        if said not in types:
            return f"opset {version} has no {value.dtype.name.lower()} for its input {place}"
    return ""
