"""Attention and rotary positions of decoders in plain operators, shorter than their bodies in the standard.

For the form in which heads lie side by side ([batch, tokens, columns]); everything else takes the standard's body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, onnx_type, rank_of

if TYPE_CHECKING:
    import onnx_ir

SAID = ("q_num_heads", "kv_num_heads", "scale")
"""Attributes of Attention that are written out here."""


@expansion(23, "Attention")
def attention(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """softmax(q k^T scale + mask) v with a float mask; queries of one key's head stand on an axis of their own, so that
    no key is copied for them."""
    query, key, value, mask, past_key, past_value = (given(node, place) for place in range(6))
    scale = node.attributes.get_float("scale", 0.0)
    heads, kept = (node.attributes.get_int(name, 0) or 0 for name in SAID[:2])
    widths = [_columns(item, count) for item, count in ((query, heads), (key, kept), (value, kept))]
    if query is None or key is None or value is None or not (scale and all(widths)) or not _plain(node, mask, query):
        return None
    width, depth = widths[0], widths[2]
    queries = nodes("Reshape", query, int64s((0, 0, kept, heads // kept, width)))
    queries = nodes("Transpose", queries, perm=[0, 2, 3, 1, 4])
    keys, values = _joined(nodes, key, past_key, kept), _joined(nodes, value, past_value, kept)
    across = nodes("Transpose", nodes("Reshape", keys, int64s((0, kept, 1, -1, width))), perm=[0, 1, 2, 4, 3])
    scores = nodes("Mul", nodes("MatMul", queries, across), np.array(scale, onnx_type(query).numpy()))
    if mask is not None:
        scores = nodes("Add", scores, _by_group(nodes, mask, kept, heads))
    shares = nodes("Softmax", scores, axis=-1)
    answers = nodes("MatMul", shares, nodes("Reshape", values, int64s((0, kept, 1, -1, depth))))
    turned = nodes("Transpose", answers, perm=[0, 3, 1, 2, 4])
    return [nodes("Reshape", turned, int64s((0, 0, heads * depth))), keys, values][: len(node.outputs)]


def _plain(node: onnx_ir.Node, mask: onnx_ir.Value | None, query: onnx_ir.Value) -> bool:
    """Heads side by side, a float mask of rank 4 or none, nothing that is capped or counted; past and present go along."""
    others = {name: item.value for name, item in node.attributes.items() if name not in SAID}
    counted = len(node.inputs) > 6 and any(value is not None for value in node.inputs[6:])
    masked = mask is None or (mask.dtype == query.dtype and rank_of(mask) == 4)
    unset = all(value in (0, 0.0) or (name.endswith("window_size") and value == -1) for name, value in others.items())
    return rank_of(query) == 3 and masked and unset and not counted and len(node.outputs) < 4


def _columns(value: onnx_ir.Value | None, heads: int) -> int:
    """Of one head; 0 where nobody knows."""
    sizes = None if value is None or value.shape is None else list(value.shape)
    last = sizes[-1] if sizes else None
    return last // heads if isinstance(last, int) and heads else 0


def _joined(nodes: Nodes, new: onnx_ir.Value, past: onnx_ir.Value | None, heads: int) -> onnx_ir.Value:
    """[batch, heads, all tokens, columns]."""
    apart = nodes("Reshape", new, int64s((0, 0, heads, _columns(new, heads))))
    turned = nodes("Transpose", apart, perm=[0, 2, 1, 3])
    return turned if past is None else nodes("Concat", past, turned, axis=2)


def _by_group(nodes: Nodes, mask: onnx_ir.Value, kept: int, heads: int) -> onnx_ir.Value:
    """A mask for all heads, or for each of them, [batch, key's heads, queries of each, tokens, all tokens]."""
    if mask.shape is None or mask.shape[1] != heads or heads == 1:
        return nodes("Unsqueeze", mask, int64s((1,)))
    sizes = nodes("Shape", mask)
    first = nodes("Slice", sizes, int64s((0,)), int64s((1,)))
    last = nodes("Slice", sizes, int64s((2,)), int64s((4,)))
    return nodes("Reshape", mask, nodes("Concat", first, int64s((kept, heads // kept)), last, axis=0))


@expansion(23, "RotaryEmbedding")
def rotary(nodes: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Pairs of columns turn: (a cos - b sin, b cos + a sin); with cosines and sines of each token."""
    x, cosines, sines = (given(node, place) for place in range(3))
    heads = node.attributes.get_int("num_heads", 0) or 0
    width = _columns(x, heads)
    turning = node.attributes.get_int("rotary_embedding_dim", 0) or width
    if x is None or cosines is None or sines is None or not width or rank_of(x) != 3 or rank_of(cosines) != 3:
        return None
    if given(node, 3) is not None:
        return None
    apart = nodes("Reshape", x, int64s((0, 0, heads, width)))
    rest = None
    if turning < width:
        apart, rest = nodes.several(2, "Split", apart, int64s((turning, width - turning)), axis=3)
    interleaved = bool(node.attributes.get_int("interleaved", 0))
    turned = _turned(nodes, apart, (cosines, sines), (heads, turning), interleaved=interleaved)
    if rest is not None:
        turned = nodes("Concat", turned, rest, axis=3)
    return [nodes("Reshape", turned, int64s((0, 0, heads * width)))]


def _turned(
    nodes: Nodes, x: onnx_ir.Value, turns: tuple[onnx_ir.Value, ...], sizes: tuple[int, int], *, interleaved: bool
) -> onnx_ir.Value:
    """x [batch, tokens, heads, columns], all of it; pairs are neighbours or stand half the columns apart."""
    heads, width = sizes
    pairs, axis = ((width // 2, 2), 4) if interleaved else ((2, width // 2), 3)
    paired = nodes("Reshape", x, int64s((0, 0, heads, *pairs)))
    half = int64s((1, 1))
    first, second = nodes.several(2, "Split", paired, half, axis=axis)
    column = (2, 4) if interleaved else (2, 3)
    cosines, sines = (nodes("Unsqueeze", turn, int64s(column)) for turn in turns)
    real = nodes("Sub", nodes("Mul", first, cosines), nodes("Mul", second, sines))
    imaginary = nodes("Add", nodes("Mul", second, cosines), nodes("Mul", first, sines))
    return nodes("Reshape", nodes("Concat", real, imaginary, axis=axis), int64s((0, 0, heads, width)))
