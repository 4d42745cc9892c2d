"""What the standard's own table of operators says: since when, and whether a node is legal at an opset."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir


@cache
def _histories() -> dict[str, tuple[int, ...]]:
    import onnx.defs

    found: dict[str, set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, set()).add(schema.since_version)
    return {op: tuple(sorted(versions)) for op, versions in found.items()}


def history(op: str) -> tuple[int, ...]:
    """Opsets at which the operator came or changed, rising; empty where the standard has none such."""
    return _histories().get(op, ())


def exists(op: str, version: int) -> bool:
    """Whether there is such an operator at the opset."""
    return any(since <= version for since in history(op))


@cache
def known_attributes(op: str) -> frozenset[str]:
    """Attributes that the operator had at any opset: another one (a misspelt `epsion`) means nothing to any runtime."""
    import onnx.defs

    schemas = (onnx.defs.get_schema(op, version) for version in history(op))
    return frozenset(name for schema in schemas for name in schema.attributes)


def illegal(node: onnx_ir.Node, version: int) -> str:
    """Why the schema of `version` does not accept the node as it stands, types aside; '' when it does."""
    import onnx.defs

    schema = onnx.defs.get_schema(node.op_type, version)
    for name, attribute in list(node.attributes.items()):
        if name in schema.attributes:
            continue
        if name not in known_attributes(node.op_type) or _is_default(node, name, attribute):
            del node.attributes[name]
            continue
        return f"its attribute '{name}' does not exist at opset {version}"
    given = [value for value in node.inputs if value is not None]
    if len(given) > schema.max_input:
        return f"it has {len(given)} inputs, at opset {version} there are at most {schema.max_input}"
    return _missing(node, schema, version)


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


def wrong_type(node: onnx_ir.Node, version: int) -> str:
    """Why the schema of `version` takes or gives no tensor of such a type; '' when it does."""
    import onnx.defs

    schema = onnx.defs.get_schema(node.op_type, version)
    for way, values, formals in (
        ("input", node.inputs, schema.inputs),
        ("output", node.outputs, schema.outputs),
    ):
        for place, value in enumerate(values):
            if value is not None and not _fits(value, allowed(schema, formals[min(place, len(formals) - 1)])):
                return f"opset {version} has no {_name(value)} for its {way} {place}"
    return ""


def _fits(value: onnx_ir.Value, legal: set[str]) -> bool:
    """True too where the type is unknown, or no tensor's: those have changed for no operator but through tensors."""
    tensors = any(item.startswith("tensor(") for item in legal)
    return not tensors or not _is_tensor(value) or spelled(value) in legal


def allowed(schema: Any, formal: Any) -> set[str]:
    """Types, as the schemas spell them, that a formal input or output takes."""
    for item in schema.type_constraints:
        if item.type_param_str == formal.type_str:
            return set(item.allowed_type_strs)
    return {formal.type_str}


def _is_tensor(value: onnx_ir.Value) -> bool:
    return value.dtype is not None and value.type is not None and "Tensor" in type(value.type).__name__


def _name(value: onnx_ir.Value) -> str:
    return value.dtype.name.lower() if value.dtype is not None else "untyped"


def spelled(value: onnx_ir.Value) -> str:
    """The type of a tensor as the schemas spell it ('tensor(float)')."""
    return f"tensor({_name(value)})"
