"""High-bias absorption: what a channel is at least, nearly always, moves through ReLU into the next layer's bias.

Nagel et al., "Data-Free Quantization", arXiv 1906.04721, section 4.1.3: for c = max(0, beta - 3 gamma), b1 <- b1 - c and
b2 <- b2 + W2 c. There beta and gamma are a batch normalization's shift and scale; here normalizations are folded, so the
measured mean and standard deviation of the channel before its activation stand in their place. ReLU(x - c) = ReLU(x) - c
where x >= c; what lies below (one in 700 of a normal distribution) changes, so the trial decides whether it pays.

Only where the next layer reads what was absorbed at all its taps: a convolution that pads reads zeros at the borders,
where W2 c would be wrong; it is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.model import Model
from bessemer.ir.types import Array
from bessemer.quantize.algorithms.equalization import Pair, pairs, replace_bias, rows_of
from bessemer.quantize.assign import held
from bessemer.quantize.moments import Moments, channel_moments
from bessemer.quantize.observe import Sample

if TYPE_CHECKING:
    import onnx_ir

DEVIATIONS = 3.0

LEAST = 1 / 256
"""A shift below this share of the tensor's range is less than an integer step: it brings nothing."""


def absorb(model: Model, samples: Sequence[Sample]) -> int:
    """Move high biases of `model`, a float graph, in place; the number of channels that gave some."""
    found = [pair for pair in pairs(model.graph.graph) if absorbing(pair)]
    if not found:
        return 0
    seen = channel_moments(model.graph, list({pair.first: None for pair in found}), samples)
    count = 0
    for pair in found:
        shift = shift_of(seen[pair.first])
        if shift.any():
            _move(model.graph.graph, pair, shift)
            count += int(np.count_nonzero(shift))
    return count


def shift_of(seen: Moments) -> Array:
    """c of every channel, float64; all 0 where it is not worth it."""
    deviation = DEVIATIONS * np.sqrt(seen.variance)
    shift = np.maximum(0.0, seen.mean - deviation)
    worth = shift.max(initial=0) > LEAST * float((np.abs(seen.mean) + deviation).max(initial=0))
    return np.asarray(shift if worth else np.zeros_like(shift))


def absorbing(pair: Pair) -> bool:
    """Whether a shift of the first layer's output reaches every tap of the second unchanged."""
    chain = _between(pair)
    activated = any(node.op_type in ("Relu", "LeakyRelu") for node in chain)
    return activated and all(map(_passes_shift, chain)) and not _pads(pair.second)


def _between(pair: Pair) -> list[onnx_ir.Node]:
    found, value = list["onnx_ir.Node"](), pair.value
    while (maker := value.producer()) is not None and maker is not pair.first:
        found.append(maker)
        if maker.inputs[0] is None:
            break
        value = maker.inputs[0]
    return found


def _passes_shift(node: onnx_ir.Node) -> bool:
    """f(x + c) = f(x) + c, for x >= 0. A maximum never sees its padding; an average may."""
    if node.op_type != "AveragePool":
        return True
    return node.attributes.get_int("count_include_pad", 0) == 0 or not _pads(node)


def _pads(node: onnx_ir.Node) -> bool:
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    return mode.startswith("SAME") or any(node.attributes.get_ints("pads", ()) or ())


def _move(graph: onnx_ir.Graph, pair: Pair, shift: Array) -> None:
    first, second = pair.first, pair.second
    replace_bias(graph, first, _bias(first, shift.size) - shift)
    rows = rows_of(second).astype(np.float64)
    groups = (second.attributes.get_int("group", 1) or 1) if second.op_type == "Conv" else 1
    taps = rows.reshape(groups, rows.shape[0] // groups, rows.shape[1], -1).sum(3)
    gained = np.einsum("goi,gi->go", taps, shift.reshape(groups, -1)).reshape(-1)
    replace_bias(graph, second, _bias(second, gained.size) + gained)


def _bias(node: onnx_ir.Node, size: int) -> Array:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return np.zeros(size) if bias is None else np.broadcast_to(held(bias).astype(np.float64).reshape(-1), (size,))
