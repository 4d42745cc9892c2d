"""Convolutions and matrix products as one matrix product over sampled positions.

A product's output at one position is W x for a column x of its input. Layer-wise algorithms only need columns at
sampled positions: groups x (inputs per output) x positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir


def supported(node: onnx_ir.Node) -> bool:
    """Whether columns of this node can be taken: Conv, Gemm, MatMul with a constant matrix."""
    if node.op_type == "Conv":
        return True
    weight = node.inputs[1]
    return node.op_type in ("Gemm", "MatMul") and weight is not None and weight.shape is not None and len(weight.shape) == 2


def matrix(node: onnx_ir.Node, weight: Array) -> Array:
    """The weight as (groups, outputs per group, inputs per output)."""
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1) or 1
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    turned = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
    return (weight if turned else weight.T)[None]


def weight_of_matrix(node: onnx_ir.Node, rows: Array, shape: Sequence[int]) -> Array:
    """The way back from `matrix`: an array of the weight's own `shape`."""
    if node.op_type == "Conv":
        return rows.reshape(tuple(shape))
    turned = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
    return rows[0] if turned else np.ascontiguousarray(rows[0].T)


def columns(node: onnx_ir.Node, x: Array, outputs: Sequence[int], places: Array) -> Array:
    """Columns of one sample: (groups, inputs per output, len(places)).

    outputs: shape of the node's output for this sample; places: flat indices over its positions (batch and space).
    """
    if node.op_type != "Conv":
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1])[places].T)[None]
    return _conv_columns(node, x, outputs, places)


def rows(node: onnx_ir.Node, y: Array, groups: int, places: Array) -> Array:
    """Outputs of one sample at the same places: (groups, outputs per group, len(places))."""
    if node.op_type != "Conv":
        return np.ascontiguousarray(y.reshape(-1, y.shape[-1])[places].T)[None]
    flat = np.moveaxis(y, 1, 0).reshape(groups, y.shape[1] // groups, -1)
    return flat[:, :, places]


def positions(node: onnx_ir.Node, outputs: Sequence[int]) -> int:
    """How many positions an output of this shape has."""
    if node.op_type != "Conv":
        return int(np.prod(outputs[:-1]))
    return int(outputs[0] * np.prod(outputs[2:]))


def _conv_columns(node: onnx_ir.Node, x: Array, outputs: Sequence[int], places: Array) -> Array:
    weight = node.inputs[1]
    if weight is None or weight.shape is None:
        raise ValueError(f"{node.name} has no weight of known shape")
    kernel = [int(size) for size in weight.shape.numpy()[2:]]
    rank = len(kernel)
    strides, dilations = (_ints(node, name, [1] * rank) for name in ("strides", "dilations"))
    pads = _pads(node, x.shape[2:], kernel, strides, dilations, outputs[2:])
    padded = np.pad(x, [(0, 0), (0, 0), *((pads[axis], pads[axis + rank]) for axis in range(rank))])
    batch, *spot = np.unravel_index(places, (outputs[0], *outputs[2:]))
    taps = np.stack(np.meshgrid(*[np.arange(size) for size in kernel], indexing="ij")).reshape(rank, -1)
    at = tuple(
        (spot[axis] * strides[axis])[:, None] + taps[axis] * dilations[axis] for axis in range(rank)
    )
    found = padded[(batch[:, None], slice(None), *at)]  # places x taps x channels
    groups = node.attributes.get_int("group", 1) or 1
    shaped = found.transpose(2, 1, 0).reshape(groups, -1, places.size)
    return np.ascontiguousarray(shaped)


def _ints(node: onnx_ir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes.get_ints(name, default) or default)


def _pads(
    node: onnx_ir.Node,
    sizes: Sequence[int],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    outputs: Sequence[int],
) -> list[int]:
    """Begin and end pads; what auto_pad asks for follows from the output's size."""
    rank = len(kernel)
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return _ints(node, "pads", [0] * (2 * rank)) if mode == "NOTSET" else [0] * (2 * rank)
    begin, end = [], []
    for axis in range(rank):
        total = max((outputs[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - sizes[axis], 0)
        small = total // 2
        begin.append(total - small if mode == "SAME_LOWER" else small)
        end.append(total - begin[-1])
    return begin + end
