"""Zeros put around the data of a convolution or of an average become the operator's own padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bessemer.passes.fuse.match import Fusion, fuses, is_float32, rank_of, sole_user
from bessemer.passes.rewrite import constant

if TYPE_CHECKING:
    import onnx_ir


@fuses("Pad")
def padding(node: onnx_ir.Node) -> Fusion | str | None:
    """Conv counts what is padded as zeros, AveragePool does when it is told to."""
    layer, source = sole_user(node.outputs[0], "Conv", "AveragePool"), node.inputs[0]
    if (
        layer is None
        or layer.inputs[0] is not node.outputs[0]
        or list(layer.inputs).count(node.outputs[0]) != 1
    ):
        return None
    where = f"Pad '{node.name}' before '{layer.name}'"
    pads = _zeros(node)
    if isinstance(pads, str):
        return f"{where}: {pads}"
    reason = _refused(layer, pads)
    if reason:
        return f"{where}: {reason}"
    attributes: dict[str, Any] = {name: attribute.value for name, attribute in layer.attributes.items()}
    attributes.pop("auto_pad", None)
    own = layer.attributes.get_ints("pads", None) or [0] * len(pads)
    attributes["pads"] = [a + b for a, b in zip(own, pads, strict=True)]
    if layer.op_type == "AveragePool":
        attributes["count_include_pad"] = 1
    return Fusion(layer.op_type, layer, [source, *layer.inputs[1:]], [node], attributes)


def _zeros(node: onnx_ir.Node) -> list[int] | str:
    """The pads of the spatial axes as Conv writes them; a string says why they are not Conv's."""
    rank, mode = rank_of(node.inputs[0]), node.attributes.get_string("mode", "constant")
    given = constant(node.inputs[1])
    filled = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    computed = len(node.inputs) > 2 and node.inputs[2] is not None and filled is None
    if mode != "constant" or computed or (filled is not None and filled.any()):
        return f"it does not pad with zeros ({mode})"
    if given is None or rank is None or rank < 3 or not is_float32(node.inputs[0]):
        return "its pads are computed, or its data is not float32 of a known rank"
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if len(node.inputs) > 3 and node.inputs[3] is not None and axes is None:
        return "its axes are computed"
    places = [int(axis) % rank for axis in axes.reshape(-1)] if axes is not None else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for at, axis in enumerate(places):
        before[axis], after[axis] = int(given[at]), int(given[at + len(places)])
    if any(before[:2] + after[:2]):
        return "it pads the batch or the channels"
    if min(before + after) < 0:
        return "it cuts"
    return before[2:] + after[2:]


def _refused(layer: onnx_ir.Node, pads: list[int]) -> str:
    """Why the layer cannot take `pads`; '' when it can."""
    automatic = layer.attributes.get_string("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID"):
        return f"the layer pads by {automatic}"
    if layer.op_type == "Conv":
        return ""
    own = layer.attributes.get_ints("pads", None) or [0] * len(pads)
    if layer.attributes.get_int("ceil_mode", 0):
        return "windows that reach over the edge are averaged over fewer elements"
    if any(own) and not layer.attributes.get_int("count_include_pad", 0):
        return "the average leaves its own padding out"
    kernel = list(layer.attributes.get_ints("kernel_shape", []))
    if any(a + b >= size for a, b, size in zip(own, pads, kernel * 2, strict=True)):
        return "a window would see padding only"
    return ""
