"""A product with a constant matrix and the addition of a constant row are one Gemm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bessemer.ir.encoding import weight_of
from bessemer.passes.fuse.match import Fusion, fuses, is_float32, other, rank_of, sole_user
from bessemer.passes.rewrite import dims, is_constant

if TYPE_CHECKING:
    import onnx_ir


@fuses("MatMul")
def gemm(node: onnx_ir.Node) -> Fusion | str | None:
    """Of matrices only: between the Reshapes that other ranks would need nothing is gained."""
    a, b, product = node.inputs[0], node.inputs[1], node.outputs[0]
    added = sole_user(product, "Add")
    if added is None or rank_of(a) != 2 or rank_of(b) != 2 or not is_constant(b) or not is_float32(a):
        return None
    bias, columns = other(added, product), dims(b)
    if bias is None or columns is None or not is_constant(bias):
        return None
    where = f"MatMul '{node.name}' and Add '{added.name}'"
    if weight_of(b) is not None or weight_of(bias) is not None:
        return f"{where}: the weights are quantized"
    if dims(bias) not in ((columns[1],), (1, columns[1])):
        return f"{where}: the bias is no row"
    return Fusion("Gemm", added, [a, b, bias], [node])
