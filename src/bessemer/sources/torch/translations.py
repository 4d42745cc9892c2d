"""Operators of torch that its own exporter has no translation for, or one that covers less than torch does.

Each function draws the operator with onnxscript's, on symbolic values that know their shapes; what it cannot draw it
raises as NotImplementedError, which becomes a blocker.
"""

from __future__ import annotations

from typing import Any


def table() -> dict[Any, Any]:
    """torch operator -> the function that draws it."""
    import torch

    aten = torch.ops.aten
    return {aten.scaled_dot_product_attention.default: attention}


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
    from onnxscript import opset23 as op

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
