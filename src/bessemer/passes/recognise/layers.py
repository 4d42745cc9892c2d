"""Which weight of a graph plays which role of a decoder (`ir.decoder`), by the way data takes between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bessemer.ir.errors import Blocker, Declined
from bessemer.passes.recognise.cores import Core, cores
from bessemer.passes.recognise.stations import Station, Stations, stations

if TYPE_CHECKING:
    import onnx_ir

ACTIVATIONS = {
    "Swish": "silu", "QuickGelu": "silu", "Sigmoid": "silu", "Gelu": "gelu", "Erf": "gelu", "Relu": "relu",
    "Tanh": "gelu_tanh",
}  # fmt: skip
"""What an operator between two products of a feed-forward is a part of."""


@dataclass
class Block:
    """A layer's stations by role, without 'blk.N.'. core: its attention; activation: of its feed-forward."""

    core: Core
    roles: dict[str, Station] = field(default_factory=dict)
    activation: str = ""
    parallel: str = ""


@dataclass
class Skeleton:
    """A decoder's stations. ends: those that are no layer's, by role."""

    blocks: list[Block]
    ends: dict[str, Station]

    @property
    def stations(self) -> dict[str, Station]:
        """All of them by role."""
        return self.ends | {
            f"blk.{place}.{role}": station
            for place, block in enumerate(self.blocks)
            for role, station in block.roles.items()
        }


def skeleton(graph: onnx_ir.Graph) -> Skeleton:
    """Of a canonical graph. Raises Declined for a graph that is no decoder of dense layers, with what is missing."""
    held = stations(graph)
    found = [Block(core) for core in cores(graph)]
    if not found:
        raise _declined("attention", "no softmax between two products of values, and no Attention operator, was found")
    for place, block in enumerate(found):
        _attention(held, block, place)
    head = _head(held, found)
    _feed_forwards(held, found, head)
    for block in found:
        _norms(held, block)
    return Skeleton(found, _ends(held, head))


def _attention(held: Stations, block: Block, place: int) -> None:
    core = block.core
    sides = [_projection(held, value) for value in (core.query, core.key, core.value)]
    after = held.ahead(core.result)
    if any(side is None for side in sides) or not after or after[0].kind != "product":
        raise _declined(f"layer {place}", "its queries, keys, values or their output come from no product with weights")
    products = [side[0] for side in sides if side is not None]
    if products[0] is products[1] is products[2]:
        block.roles["attn_qkv"] = products[0]
    else:
        block.roles |= dict(zip(("attn_q", "attn_k", "attn_v"), products, strict=True))
    for side, role in zip(sides, ("attn_q_norm", "attn_k_norm"), strict=False):
        if side is not None and side[1] is not None:
            block.roles[role] = side[1]
    block.roles["attn_output"] = after[0]


def _projection(held: Stations, value: onnx_ir.Value) -> tuple[Station, Station | None] | None:
    """The product behind queries, keys or values, and a norm between."""
    near = held.behind(value)[0]
    product = next((station for station in near if station.kind == "product"), None)
    if product is not None:
        return product, None
    norm = next((station for station in near if station.kind == "norm"), None)
    before = [] if norm is None else held.behind(norm.data)[0]
    return (before[0], norm) if before and before[0].kind == "product" else None


def _head(held: Stations, blocks: list[Block]) -> Station:
    """The last product: what gives logits."""
    used = {id(station) for block in blocks for station in block.roles.values()}
    products = [station for station in held.every if station.kind == "product" and id(station) not in used]
    if not products or held.ahead(products[-1].result):
        raise _declined("output", "no last product with weights, which would give logits, was found")
    return products[-1]


def _feed_forwards(held: Stations, blocks: list[Block], head: Station) -> None:
    """The rest of the products, in the order of the layers: a 'down' has products and an activation behind it."""
    used = {id(station) for block in blocks for station in block.roles.values()} | {id(head)}
    downs = []
    for station in held.every:
        if station.kind != "product" or id(station) in used:
            continue
        near, crossed = held.behind(station.data)
        if near and all(other.kind == "product" for other in near) and any(node.op_type in ACTIVATIONS for node in crossed):
            downs.append((station, near, [node for node in crossed if node.op_type in ACTIVATIONS]))
    rest = [station for station in held.every if station.kind == "product" and id(station) not in used]
    left = len(rest) - sum(1 + len(near) for _, near, _ in downs)
    if len(downs) != len(blocks) or left:
        reason = f"{len(downs)} dense feed-forwards were found for {len(blocks)} attentions, and {left} products beside them"
        raise _declined("feed-forward", reason)
    for block, (down, near, bends) in zip(blocks, downs, strict=True):
        _feed_forward(held, block, down, near, bends)


def _feed_forward(
    held: Stations, block: Block, down: Station, near: list[Station], bends: list[onnx_ir.Node]
) -> None:
    bend = bends[0]
    tanh = bend.op_type == "Gelu" and bend.attributes.get_string("approximate", "none") == "tanh"
    block.activation = "gelu_tanh" if tanh else ACTIVATIONS[bend.op_type]
    block.roles["ffn_down"] = down
    if len(near) == 1:
        block.roles["ffn_up"] = near[0]
        return
    gates = [station for node in bends for station in held.behind(node.inputs[0])[0]]
    block.roles["ffn_gate"] = gate = gates[0]
    block.roles["ffn_up"] = next(station for station in near if station is not gate)


def _norms(held: Stations, block: Block) -> None:
    first = block.roles.get("attn_q") or block.roles["attn_qkv"]
    before = held.behind(first.data)[0]
    attention = before[0] if len(before) == 1 and before[0].kind == "norm" else None
    after = held.behind(block.roles["ffn_up"].data)[0]
    feed = after[0] if len(after) == 1 and after[0].kind == "norm" else None
    if attention is not None:
        block.roles["attn_norm"] = attention
    if feed is not None and feed is attention:
        block.parallel = "one"
    elif feed is not None:
        block.roles["ffn_norm"] = feed
        block.parallel = "" if block.roles["attn_output"] in _residual(held, feed) else "two"
    for product, role in (("attn_output", "post_attention_norm"), ("ffn_down", "post_ffw_norm")):
        own = block.roles[product]
        norm = next(iter(held.ahead(own.result)), None)
        if norm is not None and norm.kind == "norm" and held.behind(norm.data)[0] == [own]:
            block.roles[role] = norm


def _residual(held: Stations, norm: Station) -> list[Station]:
    """What is added up in front of a norm, norms of results looked through."""
    near = held.behind(norm.data)[0]
    return near + [other for station in near if station.kind == "norm" for other in held.behind(station.data)[0]]


def _ends(held: Stations, head: Station) -> dict[str, Station]:
    found = {"output": head}
    near = held.behind(head.data)[0]
    if len(near) == 1 and near[0].kind == "norm":
        found["output_norm"] = near[0]
    tables = [station for station in held.every if station.kind == "table"]
    tokens = next((station for station in tables if station.shape[0] == head.shape[0]), None)
    others = [station for station in tables if station is not tokens]
    if tokens is None or len(others) > 1:
        raise _declined("embedding", f"{len(tables)} tables were found, one with as many rows as there are logits is wanted")
    found["token_embd"] = tokens
    return found | ({"position_embd": others[0]} if others else {})


def _declined(node: str, reason: str) -> Declined:
    return Declined("Recognising the weights of a decoder", [Blocker(node, "graph", "unrecognised", reason)])
