"""Text generation token by token: keys and values of earlier tokens go in and come out as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bessemer.ir.errors import Blocker, Declined
from bessemer.sources.huggingface.tasks.base import BATCH, EXAMPLE, PAST, TOKENS, Plan, Port, Tensors, accepts

WHOLE = f"{PAST} + {TOKENS}"
PLAIN = ("DynamicLayer", "DynamicSlidingWindowLayer")
"""Layers of a cache that are keys and values and nothing else. A sliding one is kept whole: the mask slides."""


def with_past(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, attention_mask, position_ids, past_key_values.N.key/value -> logits, present.N.key/value."""
    from transformers import DynamicCache

    sizes = cache_sizes(model)
    positions = "position_ids" in accepts(model)
    ports = [*_ports(model, WHOLE, positions=positions)]
    for place, (heads, width, depth) in enumerate(sizes):
        ports += [
            Port(f"past_key_values.{place}.key", "float32", (BATCH, heads, PAST, width)),
            Port(f"past_key_values.{place}.value", "float32", (BATCH, heads, PAST, depth)),
        ]

    def call(feeds: Tensors) -> dict[str, Any]:
        cache = DynamicCache()
        for place in range(len(sizes)):
            cache.update(feeds[f"past_key_values.{place}.key"], feeds[f"past_key_values.{place}.value"], place)
        own = {name: value for name, value in feeds.items() if not name.startswith("past_key_values.")}
        answer = model(**own, past_key_values=cache, use_cache=True, return_dict=True)
        return {"logits": answer.logits, **presents(answer.past_key_values)}

    return Plan(model, tuple(ports), call, EXAMPLE)


def without_past(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, attention_mask, position_ids -> logits of all places."""

    def call(feeds: Tensors) -> dict[str, Any]:
        return {"logits": model(**feeds, use_cache=False, return_dict=True).logits}

    return Plan(model, _ports(model, TOKENS, positions="position_ids" in accepts(model)), call, EXAMPLE)


def _ports(model: Any, mask: str, *, positions: bool) -> tuple[Port, ...]:
    config = model.config.get_text_config()
    found = [
        Port("input_ids", "int64", (BATCH, TOKENS), int(config.vocab_size)),
        Port("attention_mask", "int64", (BATCH, mask), 2),
    ]
    if positions:
        most = getattr(config, "max_position_embeddings", None) or 0
        found.append(Port("position_ids", "int64", (BATCH, TOKENS), int(most)))
    return tuple(found)


def presents(cache: Any, kind: str = "") -> dict[str, Any]:
    """present.N.key and present.N.value of a cache's layers."""
    found = {}
    for place, layer in enumerate(cache.layers):
        found[f"present.{place}.{kind}key"] = layer.keys
        found[f"present.{place}.{kind}value"] = layer.values
    return found


def cache_sizes(model: Any) -> list[tuple[int, int, int]]:
    """(heads, size of a key, size of a value) of each layer, from a call in which nothing is computed.

    Raises Declined for states that are no keys and values.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import DynamicCache

    own = DynamicCache(config=model.config)
    strange = sorted({type(layer).__name__ for layer in own.layers} - set(PLAIN))
    if strange:
        raise Declined("the task text-generation-with-past", [_no_plain_cache(model, ", ".join(strange))])
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        ids = torch.zeros((3, 11), dtype=torch.int64)
        cache = model(input_ids=ids, use_cache=True, past_key_values=DynamicCache(), return_dict=True).past_key_values
    layers = list(getattr(cache, "layers", ()))
    shapes = [(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers if layer.keys is not None]
    if len(shapes) != len(layers) or not shapes:
        raise Declined("the task text-generation-with-past", [_no_plain_cache(model, "layers that share or lack them")])
    if any(shape[0] != 3 or shape[2] != 11 or len(shape) != 4 for pair in shapes for shape in pair):
        raise Declined("the task text-generation-with-past", [_no_plain_cache(model, f"shapes {shapes[0]}")])
    return [(keys[1], keys[3], values[3]) for keys, values in shapes]


def _no_plain_cache(model: Any, what: str) -> Blocker:
    return Blocker(
        "", type(model).__name__, "no-key-value-cache",
        f"what it keeps between tokens is no tensor of keys and values per layer ({what})",
        rewrite="--task text-generation, which computes all tokens in each call",
    )  # fmt: skip
