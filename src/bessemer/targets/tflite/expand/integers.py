"""Integer products through float32, exactly: sums of at most 256 products of 8 bits fit its mantissa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import dims
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

FLOAT, INT32 = 1, 6
EXACT = 256
"""Products that can be summed: 256 * 255 * 255 < 2^24."""


def _centred(nodes: Nodes, x: ir.Value, zero: ir.Value | None, *, row: bool) -> ir.Value:
    """x - zero point in float32; a zero point per row stands as a column."""
    real = nodes("Cast", x, to=FLOAT)
    if zero is None:
        return real
    offset = nodes("Cast", zero, to=FLOAT)
    if row and zero.shape is not None and len(zero.shape) == 1 and zero.shape[0] != 1:
        offset = nodes("Unsqueeze", offset, nodes.constant(np.array([1]), "axes"))
    return nodes("Sub", real, offset)


def _chunks(size: int, most: int) -> list[int]:
    return [min(most, size - start) for start in range(0, size, most)]


def _input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


@expand("MatMulInteger", needs="a known inner size")
def matmul_integer(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Float products over chunks of the inner axis, summed as INT32."""
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None or a.shape is None or b.shape is None or not isinstance(a.shape[-1], int):
        return None
    left = _centred(nodes, a, _input(node, 2), row=True)
    right = _centred(nodes, b, _input(node, 3), row=False)
    sizes = _chunks(a.shape[-1], EXACT)
    if len(sizes) == 1:
        return [nodes("Cast", nodes("MatMul", left, right), to=INT32)]
    if len(b.shape) < 2:
        return None
    split = nodes.constant(np.array(sizes), "split")
    lefts = nodes.several(len(sizes), "Split", left, split, axis=len(a.shape) - 1)
    rights = nodes.several(len(sizes), "Split", right, split, axis=len(b.shape) - 2)
    return [_summed(nodes, [nodes("MatMul", p, q) for p, q in zip(lefts, rights, strict=True)])]


def _summed(nodes: Nodes, parts: Sequence[ir.Value]) -> ir.Value:
    """The parts, which hold whole numbers, added as INT32."""
    whole = [nodes("Cast", part, to=INT32) for part in parts]
    total = whole[0]
    for part in whole[1:]:
        total = nodes("Add", total, part)
    return total


@expand("ConvInteger", needs="weights of known shape with one zero point, and few channels per group")
def conv_integer(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A float convolution over chunks of the channels, summed as INT32."""
    x, w = node.inputs[0], node.inputs[1]
    shape = dims(w)
    if x is None or w is None or shape is None:
        return None
    most = EXACT // int(np.prod(shape[2:]))
    zero = _input(node, 3)
    if most == 0 or (zero is not None and (zero.shape is None or (len(zero.shape) and zero.shape[0] != 1))):
        return None
    left, right = _centred(nodes, x, _input(node, 2), row=False), _centred(nodes, w, zero, row=False)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    sizes = _chunks(shape[1], most)
    if len(sizes) == 1:
        return [nodes("Cast", nodes("Conv", left, right, **attributes), to=INT32)]
    if node.attributes.get_int("group", 1) != 1:
        return None
    split = nodes.constant(np.array(sizes), "split")
    lefts = nodes.several(len(sizes), "Split", left, split, axis=1)
    rights = nodes.several(len(sizes), "Split", right, split, axis=1)
    pairs = zip(lefts, rights, strict=True)
    return [_summed(nodes, [nodes("Conv", p, q, **attributes) for p, q in pairs])]
