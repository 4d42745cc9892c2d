"""Axis order of image inputs and outputs; Transposes at the border are moved or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bessemer.ir.layout import apply, channels_first, channels_last
from bessemer.ir.types import Perm

if TYPE_CHECKING:
    import onnx_ir

Order = Literal["original", "nchw", "nhwc"]
TO_FIRST, TO_LAST = channels_first(4), channels_last(4)


def order_borders(graph: onnx_ir.Graph, order: Order) -> tuple[dict[str, Perm], dict[str, Perm]]:
    """Give rank-4 borders `order`; returns name -> perm with new = transpose(original, perm).

    A border that already stands behind the Transpose of a channels-last model loses it (nchw) or is left (nhwc).
    """
    if order == "original":
        return {}, {}
    inputs = {
        value.name or "": _input(graph, value, order)
        for value in list(graph.inputs)
        if _is_image(graph, value)
    }
    outputs = {
        value.name or "": _output(graph, index, order)
        for index, value in enumerate(list(graph.outputs))
        if _is_image(graph, value) and value.producer() is not None
    }
    return (
        {k: v for k, v in inputs.items() if v is not None},
        {k: v for k, v in outputs.items() if v is not None},
    )


def _is_image(graph: onnx_ir.Graph, value: onnx_ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 4 and value.name not in graph.initializers


def _perm_of(node: onnx_ir.Node | None) -> Perm | None:
    if node is None or node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
        return None
    perm = node.attributes.get("perm")
    return None if perm is None else tuple(perm.as_ints())


def _input(graph: onnx_ir.Graph, value: onnx_ir.Value, order: Order) -> Perm | None:
    users = list(value.consumers())
    last = bool(users) and all(_perm_of(user) == TO_FIRST for user in users) and not value.is_graph_output()
    if order == "nchw" and last:
        for user in users:
            if user.outputs[0].is_graph_output():
                return None
        for user in users:
            user.outputs[0].replace_all_uses_with(value)
            if user.graph is not None:
                user.graph.remove(user, safe=True)
        _reshape(value, TO_FIRST)
        return TO_FIRST
    if order == "nchw" or last or value.is_graph_output():
        return None
    return _transpose_input(graph, value)


def _transpose_input(graph: onnx_ir.Graph, value: onnx_ir.Value) -> Perm:
    import onnx_ir

    node = onnx_ir.node("Transpose", [value], {"perm": TO_FIRST}, name=f"{value.name}_to_nchw")
    inner = node.outputs[0]
    inner.name, inner.shape, inner.type = f"{value.name}_nchw", value.shape, value.type
    uses = list(value.uses())
    for use in uses:
        if use.node is not node:
            use.node.replace_input_with(use.idx, inner)
    first = next(iter(graph), None)
    graph.append(node) if first is None else graph.insert_before(first, node)
    _reshape(value, TO_LAST)
    return TO_LAST


def _output(graph: onnx_ir.Graph, index: int, order: Order) -> Perm | None:
    import onnx_ir

    value = graph.outputs[index]
    maker = value.producer()
    last = maker is not None and _perm_of(maker) == TO_LAST and not value.uses()
    source = maker.inputs[0] if maker is not None and maker.inputs else None
    if order == "nchw" and last and maker is not None and source is not None:
        if source.producer() is None or source.is_graph_output():
            return None
        name = value.name
        graph.outputs[index] = source
        graph.remove(maker, safe=True)
        value.name, source.name = None, name
        return TO_FIRST
    if order == "nchw" or last:
        return None
    name = value.name
    node = onnx_ir.node("Transpose", [value], {"perm": TO_LAST}, name=f"{name}_to_nhwc")
    outer = node.outputs[0]
    outer.type, outer.shape = value.type, value.shape
    _reshape(outer, TO_LAST)
    graph.append(node)
    graph.outputs[index] = outer
    value.name, outer.name = f"{name}_nchw", name
    return TO_LAST


def _reshape(value: onnx_ir.Value, perm: Perm) -> None:
    import onnx_ir

    if value.shape is not None:
        value.shape = onnx_ir.Shape(apply(perm, tuple(value.shape)))
