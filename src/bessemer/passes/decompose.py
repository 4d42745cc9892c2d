"""Replace an operator by its function body, as the ONNX standard defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bessemer.ir.model import layer_of, tag
from bessemer.passes.rewrite import owner

if TYPE_CHECKING:
    import onnx_ir


def inline_function_body(node: onnx_ir.Node, opset: int) -> bool:
    """Put the standard's body of `node` in its place; False when the standard gives none.

    opset: the version whose meaning the node has. Bodies that depend on types or attributes are asked for with
    the node's real input types.
    """
    import onnx
    import onnx_ir

    body = _body(node, opset)
    if body is None:
        return False
    proto = onnx.FunctionProto.FromString(body)
    wanted = _produced(proto, node)
    function = onnx_ir.serde.deserialize_function(proto)
    graph = owner(node)
    given = dict(zip((value.name for value in function.inputs), node.inputs, strict=False))
    table: dict[int, onnx_ir.Value | None] = {id(v): given.get(v.name) for v in function.inputs}
    made = [_copy(inner, node, table) for inner in function]
    graph.insert_before(node, made)
    for old, inner in zip(wanted, function.outputs, strict=True):
        new = table[id(inner)]
        if new is None:
            raise ValueError(f"the body of {node.op_type} passes an absent input through")
        new.shape, new.type, name = old.shape, old.type, old.name
        new.meta.update(old.meta)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name, new.name = f"{name}_inlined", name
    graph.remove(node, safe=True)
    return True


def inline_until(graph: onnx_ir.Model, lacks: Callable[[onnx_ir.Node], bool]) -> int:
    """Put bodies, and bodies within them, in the place of nodes that somebody lacks; returns how many were."""
    from bessemer.passes.shapes import InferShapes

    count, refused = 0, set[Any]()
    while True:
        found = [node for node in graph.graph.all_nodes() if node not in refused and lacks(node)]
        if not found:
            return count
        done = 0
        for node in found:
            opset = graph.graph.opset_imports.get(node.domain, 1)
            if inline_function_body(node, opset):
                done += 1
            else:
                refused.add(node)
        count += done
        if done:
            InferShapes().run(graph)


def _produced(proto: Any, node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """The outputs of `node` that its body computes; the body's other ones (optional, left out) are dropped from it."""
    made = {name for inner in proto.node for name in inner.output} | set(proto.input)
    kept = [(old, name) for old, name in zip(node.outputs, proto.output, strict=False) if name in made]
    del proto.output[:]
    proto.output.extend(name for _, name in kept)
    return [old for old, _ in kept]


def _body(node: onnx_ir.Node, opset: int) -> bytes | None:
    import onnx.defs
    import onnx_ir

    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        usable = [version for version in schema.function_opset_versions if version <= opset]
        found: bytes | None = schema.get_function_with_opset_version(max(usable)) if usable else None
        return found
    if not schema.has_context_dependent_function:
        return None
    usable = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
    types = [_type_of(value) for value in node.inputs]
    if not usable or any(item is None for item in types):
        return None
    proto = onnx_ir.serde.serialize_node(node).SerializeToString()
    body: bytes = schema.get_context_dependent_function_with_opset_version(max(usable), proto, types)
    return body or None


def _type_of(value: onnx_ir.Value | None) -> bytes | None:
    import onnx
    import onnx_ir

    if value is None:
        return bytes(onnx.TypeProto().SerializeToString())
    if value.type is None:
        return None
    return bytes(onnx_ir.serde.serialize_value(value).type.SerializeToString())


def _default(node: onnx_ir.Node, name: str | None) -> onnx_ir.Attr | None:
    """What the schema says of an attribute that the node leaves out; None when it says nothing."""
    import onnx.defs
    import onnx_ir

    version = node.version if node.version is not None else onnx.defs.onnx_opset_version()
    declared = onnx.defs.get_schema(node.op_type, version, node.domain).attributes.get(name or "")
    if declared is None or not declared.default_value.name:
        return None
    return onnx_ir.serde.deserialize_attribute(declared.default_value)


def _recapture(attribute: onnx_ir.Attr, table: dict[int, Any]) -> None:
    """Values of the body that a subgraph reads from outside are the caller's values now.

    In place: a body is deserialised anew for every call.
    """
    import onnx_ir

    if attribute.type == onnx_ir.AttributeType.GRAPH:
        graphs = [attribute.as_graph()]
    elif attribute.type == onnx_ir.AttributeType.GRAPHS:
        graphs = list(attribute.as_graphs())
    else:
        return
    for graph in graphs:
        for node in graph.all_nodes():
            for place, value in enumerate(node.inputs):
                if value is not None and id(value) in table:
                    node.replace_input_with(place, table[id(value)])
        for place, value in enumerate(graph.outputs):
            if id(value) in table:
                graph.outputs[place] = table[id(value)]


def _copy(inner: onnx_ir.Node, caller: onnx_ir.Node, table: dict[int, Any]) -> onnx_ir.Node:
    """A node of the body with the caller's values and attributes."""
    import onnx_ir

    attributes = {}
    for name, attribute in inner.attributes.items():
        if attribute.is_ref():
            given = caller.attributes.get(attribute.ref_attr_name or "") or _default(
                caller, attribute.ref_attr_name
            )
            if given is not None:
                attributes[name] = onnx_ir.Attr(name, given.type, given.value)
        else:
            attributes[name] = attribute
        if name in attributes:
            _recapture(attributes[name], table)
    inputs = [None if value is None else table.get(id(value)) for value in inner.inputs]
    copy = onnx_ir.Node(
        inner.domain,
        inner.op_type,
        inputs,
        attributes=list(attributes.values()),
        num_outputs=len(inner.outputs),
    )
    prefix = (
        f"{caller.outputs[0].name}_{caller.op_type.lower()}"  # a body may be inlined in a body of that name
    )
    for old, new in zip(inner.outputs, copy.outputs, strict=True):
        new.name = f"{prefix}_{old.name}" if old.name else None
        table[id(old)] = new
    tag(copy, *layer_of(caller).split(";"))
    return copy
