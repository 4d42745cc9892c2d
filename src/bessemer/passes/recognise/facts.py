"""What a graph tells of a decoder's settings beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.decoder import Rope
from bessemer.passes.recognise.layers import Skeleton
from bessemer.passes.recognise.stations import Station, shape_of
from bessemer.passes.rewrite import constant
from bessemer.runners.decoder.tables import Floats, frequencies

if TYPE_CHECKING:
    import onnx_ir

PAIRS = 1 << 10
"""Most columns of a head that turn, by two."""


@dataclass(frozen=True)
class Facts:
    """Of a decoder as a graph holds it; 0 where the graph does not say. inverse: radians per position of each pair; theta:
    base of the frequencies, 0 where they follow none."""

    layers: int
    vocabulary: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    norm: str
    eps: float
    activation: str
    gated: bool
    tied: bool
    parallel: str
    pre_norm: bool
    post_norm: bool
    qk_norm: bool
    learned: int
    inverse: tuple[float, ...]
    theta: float
    biases: frozenset[str]


def facts_of(graph: onnx_ir.Graph, found: Skeleton) -> Facts:
    """Raises nothing: what is not there is 0 or empty."""
    block, ends = found.blocks[0], found.ends
    core, roles = block.core, block.roles
    heads, width = core.heads, core.width
    whole = roles["attn_output"].shape[1]
    rows = roles["attn_k"].shape[0] if "attn_k" in roles else (roles["attn_qkv"].shape[0] - whole) // 2
    width = width or (whole // heads if heads else 0)
    inverse = _inverse(graph)
    norm = roles.get("attn_norm") or roles.get("ffn_norm") or ends.get("output_norm")
    fused = roles["ffn_up"].shape[0] == 2 * roles["ffn_down"].shape[1]
    return Facts(
        layers=len(found.blocks), vocabulary=ends["token_embd"].shape[0], hidden=ends["token_embd"].shape[1],
        inner=roles["ffn_down"].shape[1], heads=heads or (whole // width if width else 0),
        kv_heads=rows // width if width else 0, head_dim=width,
        norm="" if norm is None else "layer" if norm.node.op_type == "LayerNormalization" else "rms",
        eps=0.0 if norm is None else float(f"{norm.epsilon:.6g}"), activation=block.activation,
        gated="ffn_gate" in roles or fused, tied=same(ends["token_embd"], ends["output"]), parallel=block.parallel,
        pre_norm="attn_norm" in roles, post_norm="post_attention_norm" in roles, qk_norm="attn_q_norm" in roles,
        learned=ends["position_embd"].shape[0] if "position_embd" in ends else 0,
        inverse=inverse, theta=_theta(inverse),
        biases=frozenset(role for role, station in roles.items() if station.bias is not None),
    )  # fmt: skip


def same(table: Station, head: Station) -> bool:
    """Whether the output matrix is the table of tokens, element by element."""
    if table.weight is head.weight or table.shape != head.shape:
        return table.weight is head.weight
    a, b = table.weight.const_value, head.weight.const_value
    if a is None or b is None:
        return False
    right = b.numpy()
    return bool(np.array_equal(a.numpy(), right.T if head.turned else right))


def _inverse(graph: onnx_ir.Graph) -> tuple[float, ...]:
    """The constant that positions are multiplied with in front of the first cosine."""
    node = next((node for node in graph if node.op_type == "Cos"), None)
    level: list[Any] = [] if node is None else [node.inputs[0]]
    for _ in range(8):
        for value in level:
            held = constant(value, PAIRS)
            if held is not None and held.dtype.kind == "f" and held.size == max(held.shape, default=0) >= 1:
                return tuple(float(number) for number in held.reshape(-1))
        makers = [value.producer() for value in level if value is not None]
        level = [value for node in makers if node is not None for value in node.inputs]
    return ()


def _theta(inverse: tuple[float, ...]) -> float:
    """The base whose powers the frequencies are: a number of six digits; 0 where there is none."""
    if len(inverse) < 2 or inverse[0] != 1.0 or not 0 < inverse[-1] < 1:
        return 0.0
    pairs = len(inverse)
    base = float(f"{inverse[-1] ** (-pairs / (pairs - 1)):.6g}")
    near = frequencies(Rope(2 * pairs, base))
    wanted: Floats = np.asarray(inverse, np.float32)
    return base if np.allclose(near, wanted, rtol=2e-6, atol=0) else 0.0


def size_of(station: Station) -> tuple[int, ...]:
    """Shape of a station's weight as the graph holds it."""
    return shape_of(station.weight)
