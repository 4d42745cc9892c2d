"""A graph of a known architecture as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bessemer.architectures.base import Family, find
from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.decoder import Decoder
from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.passes.recognise.config import guessed
from bessemer.passes.recognise.facts import Facts, facts_of
from bessemer.passes.recognise.layers import skeleton
from bessemer.passes.recognise.tensors import fitted, roles_of
from bessemer.runners.decoder.checking import Contradiction, check


def checkpoint_of(model: Model, config: Mapping[str, Any] | None = None) -> Checkpoint:
    """The weights in a canonical graph (`opening.normalise`), in Hugging Face's names and layout.

    config: settings that count before what the graph tells: a whole config.json, or some of its keys.
    Raises UsageError naming settings that the graph does not tell, Declined for a graph that is no decoder of dense layers
    or contradicts the settings.
    """
    graph = model.graph.graph
    found = skeleton(graph)
    facts = facts_of(graph, found)
    said = dict(config or {})
    settings = said if _whole(said) else guessed(facts, said)
    family = find(settings)
    decoder = family.decoder(settings)
    if decoder is None:
        raise UsageError(f"The architecture '{family.name}' is no decoder of the kind that is recognised in graphs")
    _agree(facts, decoder, family)
    roles = fitted(roles_of(graph, found), decoder)
    try:
        check(decoder, {role: tensor.shape for role, tensor in roles.items()})
    except Contradiction as error:
        raise _contradiction(family, str(error)) from None
    tensors = family.from_roles(settings, roles)
    source = "the given config.json" if _whole(said) else "the graph"
    note = f"Recognised in the graph: {len(tensors)} tensors of '{family.name}', settings from {source}"
    return Checkpoint(tensors, settings, None, model.origin, notes=[note, *model.notes], companions=model.companions)


def _whole(settings: Mapping[str, Any]) -> bool:
    """Whether these are a model's settings, not some of them."""
    counted = any(key in settings for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"))
    return "model_type" in settings and counted


def _agree(facts: Facts, decoder: Decoder, family: Family) -> None:
    """What the graph tells for certain against what the settings mean. Raises Declined with everything that differs."""
    rope = next((layer.rope for layer in decoder.layers if layer.rope is not None), None)
    pairs = (
        ("layers", facts.layers, len(decoder.layers)), ("rows of the vocabulary", facts.vocabulary, decoder.vocabulary),
        ("columns of a state", facts.hidden, decoder.hidden), ("heads", facts.heads, decoder.heads),
        ("heads of keys", facts.kv_heads, decoder.kv_heads), ("norms", facts.norm, decoder.norm),
        ("columns of a head", facts.head_dim, decoder.head_dim), ("epsilon", facts.eps, float(f"{decoder.eps:.6g}")),
        ("activation", facts.activation, decoder.activation), ("parallel feed-forward", facts.parallel, decoder.parallel),
        ("tied output", facts.tied, decoder.tied), ("gates", facts.gated, decoder.gated),
        ("norms in front", facts.pre_norm, decoder.pre_norm), ("norms behind", facts.post_norm, decoder.post_norm),
        ("columns that turn", 2 * len(facts.inverse), rope.dims if rope else 0),
        ("base of frequencies", facts.theta, rope.theta if rope and not rope.inverse else 0.0),
    )  # fmt: skip
    loose = ("heads", "heads of keys", "columns of a head", "base of frequencies")
    wrong = [f"{what}: {graph} and {said}" for what, graph, said in pairs if graph != said and (graph or what not in loose)]
    if wrong:
        raise _contradiction(family, "; ".join(wrong))


def _contradiction(family: Family, what: str) -> Declined:
    reason = f"the graph and the settings of '{family.name}' differ: {what}"
    return Declined("Recognising the weights of a decoder", [Blocker("", "graph", "contradiction", reason)])
