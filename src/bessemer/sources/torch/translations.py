"""Operators of torch that its own exporter has no translation for, or one that covers less than torch does.

Each function draws the operator with onnxscript's, on symbolic values that know their shapes; what it cannot draw it
raises as NotImplementedError, which becomes a blocker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from bessemer.ir.types import IntArray


def table() -> dict[Any, Any]:
    """torch operator -> the function that draws it."""
    import torch

    aten = torch.ops.aten
    found: dict[Any, Any] = {
        aten.scaled_dot_product_attention.default: attention,
        aten._cdist_forward.default: distances,
    }
    for rank in (1, 2, 3):
        for name, exact in ((f"upsample_nearest{rank}d", False), (f"_upsample_nearest_exact{rank}d", True)):
            found[getattr(aten, name).vec] = partial(nearest, exact=exact)
            found[getattr(aten, name).default] = partial(nearest_by_axis, exact=exact)
    if hasattr(torch.ops.quantized_decomposed, "quantize_per_tensor"):
        quantize = torch.ops.quantized_decomposed.quantize_per_tensor
        found |= {getattr(quantize, name): quantize_per_tensor for name in quantize.overloads()}
    return found


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale Q K^T + mask) V, heads in axis 1; without heads they are one.

    The exporter's own takes four axes alone.
    """
    from onnxscript import opset23

    op: Any = opset23
    ranks = {len(item.shape) for item in (query, key, value)}
    if ranks not in ({3}, {4}) or dropout_p:
        raise NotImplementedError(f"attention over {sorted(ranks)} axes, with dropout {dropout_p}")
    lone = ranks == {3}
    if lone:
        axis = op.Constant(value_ints=[1])
        query, key, value = (op.Unsqueeze(item, axis) for item in (query, key, value))
        if attn_mask is not None and len(attn_mask.shape) == 3:
            attn_mask = op.Unsqueeze(attn_mask, axis)
    found, *_ = op.Attention(query, key, value, attn_mask, scale=scale, is_causal=int(is_causal))
    return op.Squeeze(found, axis) if lone else found


def nearest(x: Any, output_size: Any = None, scale_factors: Sequence[float] | None = None, *, exact: bool) -> Any:
    """Each element of the result is one of x: that at floor(place * size / new size), or with `exact` half a step on.

    Runtimes multiply or divide by a scale that was rounded, and land one place before torch now and then: unless one
    size is a multiple of the other, the places are written out.
    """
    from onnxscript import opset23

    op: Any = opset23
    sizes = [size if isinstance(size, int) else None for size in x.shape[2:]]
    scales = list(scale_factors) if scale_factors is not None else [None] * len(sizes)
    wanted = _new_sizes(sizes, output_size, scales)
    mode = "half_pixel" if exact else "asymmetric"
    rounding = "round_prefer_ceil" if exact else "floor"
    form: dict[str, Any] = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": mode}
    if any(size is None or new is None for size, new in zip(sizes, wanted, strict=True)):
        if scale_factors is not None:
            return op.Resize(x, None, op.Constant(value_floats=[1.0, 1.0, *scale_factors]), None, **form)
        raise NotImplementedError("an interpolation to sizes that are computed")
    known = [(size, new) for size, new in zip(sizes, wanted, strict=True) if size is not None and new is not None]
    places = [_places(*both, scale, exact) for both, scale in zip(known, scales, strict=True)]
    whole_steps = all(new % size == 0 or size % new == 0 for size, new in known)
    if whole_steps and all(map(np.array_equal, places, [_as_runtimes_do(*both, exact) for both in known])):
        news = op.Constant(value_ints=[new for _, new in known])
        whole = op.Concat(op.Shape(x, start=0, end=2), news, axis=0)
        return op.Resize(x, None, None, whole, **form)
    for axis, ((size, _), found) in enumerate(zip(known, places, strict=True), 2):
        if not np.array_equal(found, np.arange(size)):
            x = op.Gather(x, op.Constant(value_ints=found.tolist()), axis=axis)
    return x


def nearest_by_axis(x: Any, output_size: Any, *scales: float | None, exact: bool, **named: float | None) -> Any:
    """The overloads that name each axis' scale."""
    given = [*scales, *named.values()]
    known = [item for item in given if item is not None]
    return nearest(x, output_size, known if known and len(known) == len(given) else None, exact=exact)


def _new_sizes(sizes: list[int | None], output_size: Any, scales: list[Any]) -> list[int | None]:
    if output_size is not None:
        return [size if isinstance(size, int) else None for size in output_size]
    return [None if size is None else int(size * scale) for size, scale in zip(sizes, scales, strict=True)]


def _places(size: int, new: int, scale: float | None, exact: bool) -> IntArray:
    """torch's own arithmetic, in float32 (ATen, UpSample.h: nearest_idx, nearest_exact_idx)."""
    step = np.float32(size) / np.float32(new) if scale is None else np.float32(1.0 / scale)
    start = np.arange(new, dtype=np.float32) + np.float32(0.5 if exact else 0)
    found: IntArray = np.minimum(np.floor(start * step), size - 1).astype(np.int64)
    return found


def _as_runtimes_do(size: int, new: int, exact: bool) -> IntArray:
    """By a scale that was rounded first."""
    half = np.float32(0.5 if exact else 0)
    scale = np.float32(new) / np.float32(size)
    source = (np.arange(new, dtype=np.float32) + half) / scale - half
    found: IntArray = np.clip(np.floor(source + half), 0, size - 1).astype(np.int64)
    return found


def distances(first: Any, second: Any, p: float, compute_mode: Any = None) -> Any:
    """The p-norm of the difference of every row of the one and every row of the other."""
    from onnxscript import opset23

    op: Any = opset23
    pairs = op.Sub(op.Unsqueeze(first, op.Constant(value_ints=[-2])), op.Unsqueeze(second, op.Constant(value_ints=[-3])))
    last = op.Constant(value_ints=[-1])
    if p == 2:
        return op.ReduceL2(pairs, last, keepdims=0)
    if p == 1:
        return op.ReduceL1(pairs, last, keepdims=0)
    if p == float("inf"):
        return op.ReduceMax(op.Abs(pairs), last, keepdims=0)
    raise NotImplementedError(f"distances of the norm {p}")


def quantize_per_tensor(x: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int, dtype: int) -> Any:
    """clamp(round(x / scale) + zero_point, quant_min, quant_max); the exporter's own forgets a range that is narrower.

    Such a range limits the real numbers before, so that the pair of QuantizeLinear and DequantizeLinear stays one.
    """
    import onnx_ir
    from onnxscript import opset23

    op: Any = opset23
    kind = onnx_ir.DataType(dtype).numpy()
    whole = np.iinfo(kind)
    if isinstance(scale, (int, float)) and isinstance(zero_point, int):
        if (quant_min, quant_max) != (whole.min, whole.max):
            low, high = ((limit - zero_point) * scale for limit in (quant_min, quant_max))
            x = op.Clip(x, op.Constant(value_float=low), op.Constant(value_float=high))
        zero = op.Constant(value=onnx_ir.tensor(np.array(zero_point, kind)))
        return op.QuantizeLinear(x, op.Constant(value_float=float(scale)), zero)
    if (quant_min, quant_max) != (whole.min, whole.max):
        raise NotImplementedError(f"codes of {quant_min} to {quant_max} with a scale that is computed")
    return op.QuantizeLinear(x, op.Cast(scale, to=onnx_ir.DataType.FLOAT), op.Cast(zero_point, to=dtype))
