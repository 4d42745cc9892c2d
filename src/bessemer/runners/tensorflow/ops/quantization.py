"""Stand-ins of quantization-aware training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


@evaluates("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant(node: Node, inputs: Sequence[Array]) -> Array:
    """To the nearest of the steps between min and max, halves going up, in float32 throughout."""
    x = inputs[0]
    if node.op.endswith("Args"):
        ends = [np.asarray(node.attrs.get(key, edge)) for key, edge in (("min", -6.0), ("max", 6.0))]
    else:
        ends = [inputs[1], inputs[2]]
    first = np.float32(bool(node.attrs.get("narrow_range")))
    last = np.float32((1 << int(node.attrs.get("num_bits", 8))) - 1)
    low, high = (end.astype(np.float32) for end in ends)
    with np.errstate(all="ignore"):
        scale = (high - low) / (last - first)
        wanted = first - low / scale
        zero = np.where(wanted < first, first, np.where(wanted > last, last, np.floor(wanted + np.float32(0.5))))
        bottom, top = (first - zero) * scale, (last - zero) * scale
        inside = np.minimum(np.maximum(x, bottom), top)
        steps = np.floor((inside - bottom) * (np.float32(1) / scale) + np.float32(0.5))
        made = steps * scale + bottom
    empty = (low == 0) & (high == 0)
    return np.asarray(np.where(empty, np.float32(0), made)).astype(x.dtype)


@evaluates("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def quantize_and_dequantize(node: Node, inputs: Sequence[Array]) -> Array:
    """To a grid around zero that spans a given range, or that of the tensor."""
    x, axis = inputs[0], int(node.attrs.get("axis", -1))
    signed, narrow = bool(node.attrs.get("signed_input", True)), bool(node.attrs.get("narrow_range"))
    bits = int(inputs[3]) if len(inputs) > 3 else int(node.attrs.get("num_bits", 8))
    others = tuple(place for place in range(x.ndim) if place != axis) if axis >= 0 else None
    given = bool(node.attrs.get("range_given"))
    low, high = (inputs[1], inputs[2]) if given else (x.min(axis=others), x.max(axis=others))
    last = np.float32((1 << (bits - 1)) - 1 if signed else (1 << bits) - 1)
    first = np.float32((-last if narrow else -last - 1) if signed else 0)
    most = np.finfo(np.float32).max
    with np.errstate(all="ignore"):
        down = np.where(first * low > 0, first / low, most)
        up = np.where(last * high > 0, last / high, most)
        scale = np.minimum(down, up).astype(np.float32)
        back = np.where(down < up, low / first, high / last).astype(np.float32)
        bottom = np.where(down < up, low, first * back)
        top = np.where(down < up, last * back, high)
    if axis >= 0:
        shape = [-1 if place == axis else 1 for place in range(x.ndim)]
        scale, back, bottom, top = (np.asarray(item, np.float32).reshape(shape) for item in (scale, back, bottom, top))
    inside = np.minimum(np.maximum(x, bottom), top)
    steps = inside * scale
    even = str(node.attrs.get("round_mode", "HALF_TO_EVEN")) == "HALF_TO_EVEN"
    whole = np.rint(steps) if even else np.floor(steps + np.float32(0.5))
    return np.asarray(whole * back).astype(x.dtype)
