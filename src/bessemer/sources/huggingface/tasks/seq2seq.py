"""Encoder and decoder of one directory: two calls, two models.

`seq2seq` is both in one graph, which answers for given decoder tokens. To generate, three smaller ones are used, as
Optimum names their inputs: `seq2seq-encoder` once per text, `seq2seq-decoder` for the first token (it also answers the
keys and values of the encoder's states), `seq2seq-decoder-with-past` for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bessemer.sources.huggingface.tasks.base import BATCH, EXAMPLE, Plan, Port, Tensors, accepts, picked
from bessemer.sources.huggingface.tasks.causal import presents
from bessemer.sources.huggingface.tasks.plain import main_ports

SOURCE, TARGET = "encoder_sequence_length", "decoder_sequence_length"
PAST = "past_decoder_sequence_length"
NOTE = (
    "Encoder and decoder are in one graph that keeps no keys and values: to generate text, convert the directory with "
    "--task seq2seq-encoder, seq2seq-decoder and seq2seq-decoder-with-past"
)


def whole(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, attention_mask (or the sound), decoder_input_ids -> logits, encoder_last_hidden_state."""
    ports = (*_source_ports(model), _tokens(model, "decoder_input_ids"))

    def call(feeds: Tensors) -> dict[str, Any]:
        return picked(model(**feeds, use_cache=False, return_dict=True), ("logits", "encoder_last_hidden_state"))

    return Plan(model, ports, call, EXAMPLE, (NOTE,))


def encoder(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, attention_mask (or the sound) -> last_hidden_state."""
    part = model.get_encoder()

    def call(feeds: Tensors) -> dict[str, Any]:
        return picked(part(**feeds, return_dict=True), ("last_hidden_state",))

    return Plan(model, _source_ports(model), call, EXAMPLE)


def decoder(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, encoder_hidden_states, encoder_attention_mask -> logits, present.N.decoder/encoder.key/value."""
    width, frames = _states(model)
    ports = [_tokens(model, "input_ids"), Port("encoder_hidden_states", "float32", (BATCH, frames, width))]
    if _masked(model):
        ports.append(Port("encoder_attention_mask", "int64", (BATCH, frames), 2))

    def call(feeds: Tensors) -> dict[str, Any]:
        answer = _decoded(model, feeds, feeds["encoder_hidden_states"], None)
        return {"logits": answer.logits, **_both(answer.past_key_values)}

    return Plan(model, tuple(ports), call, EXAMPLE)


def decoder_with_past(model: Any, keys: Sequence[str]) -> Plan:
    """input_ids, encoder_attention_mask, past_key_values.N.decoder/encoder.key/value -> logits,
    present.N.decoder.key/value; those of the encoder do not change."""
    sizes = _cache_sizes(model)
    frames = _states(model)[1]
    ports = [_tokens(model, "input_ids")]
    if _masked(model):
        ports.append(Port("encoder_attention_mask", "int64", (BATCH, frames), 2))
    for place, (heads, width) in enumerate(sizes):
        for side, length in (("decoder", PAST), ("encoder", frames)):
            for part in ("key", "value"):
                name = f"past_key_values.{place}.{side}.{part}"
                ports.append(Port(name, "float32", (BATCH, heads, length, width)))

    def call(feeds: Tensors) -> dict[str, Any]:
        cache = _cache(feeds, len(sizes))
        some = feeds["past_key_values.0.encoder.key"]
        states = some.new_zeros((some.shape[0], some.shape[2], _states(model)[0]))  # read for its sizes alone
        answer = _decoded(model, feeds, states, cache)
        return {"logits": answer.logits, **presents(answer.past_key_values.self_attention_cache, "decoder.")}

    return Plan(model, tuple(ports), call, {**EXAMPLE, PAST: 5})


def _source_ports(model: Any) -> tuple[Port, ...]:
    rename = {"sequence_length": SOURCE}
    ports = main_ports(model)
    known = accepts(model.get_encoder())
    return tuple(
        Port(port.name, port.kind, tuple(rename.get(str(axis), axis) for axis in port.axes), port.rows)
        for port in ports
        if port.name in known
    )


def _tokens(model: Any, name: str) -> Port:
    return Port(name, "int64", (BATCH, TARGET), int(model.config.get_text_config(decoder=True).vocab_size))


def _masked(model: Any) -> bool:
    return bool(model.main_input_name == "input_ids")


def _states(model: Any) -> tuple[int, int | str]:
    """Width and number of the encoder's states."""
    config = model.config
    width = int(getattr(config, "d_model", None) or config.hidden_size)
    fixed = getattr(config, "max_source_positions", None) if model.main_input_name == "input_features" else None
    return width, SOURCE if fixed is None else int(fixed)


def _decoded(model: Any, feeds: Tensors, states: Any, cache: Any) -> Any:
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.modeling_outputs import BaseModelOutput

    cache = cache or EncoderDecoderCache(DynamicCache(), DynamicCache())
    mask = {"attention_mask": feeds["encoder_attention_mask"]} if "encoder_attention_mask" in feeds else {}
    return model(
        decoder_input_ids=feeds["input_ids"],
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        past_key_values=cache,
        use_cache=True,
        return_dict=True,
        **mask,
    )


def _cache(feeds: Tensors, layers: int) -> Any:
    from transformers import DynamicCache, EncoderDecoderCache

    own, other = DynamicCache(), DynamicCache()
    for place in range(layers):
        for side, cache in (("decoder", own), ("encoder", other)):
            names = [f"past_key_values.{place}.{side}.{part}" for part in ("key", "value")]
            cache.update(feeds[names[0]], feeds[names[1]], place)
    both = EncoderDecoderCache(own, DynamicCache())
    both.cross_attention_cache = other
    both.is_updated = dict.fromkeys(range(layers), True)
    return both


def _both(cache: Any) -> dict[str, Any]:
    own = presents(cache.self_attention_cache, "decoder.")
    other = presents(cache.cross_attention_cache, "encoder.")
    places = range(len(cache.self_attention_cache.layers))
    named = {**own, **other}
    order = [f"present.{n}.{side}.{part}" for n in places for side in ("decoder", "encoder") for part in ("key", "value")]
    return {name: named[name] for name in order}


def _cache_sizes(model: Any) -> list[tuple[int, int]]:
    """(heads, width) of each layer's keys, from a call in which nothing is computed."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    width, frames = _states(model)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        states = torch.zeros((3, frames if isinstance(frames, int) else 11, width), dtype=model.dtype)
        answer = _decoded(model, {"input_ids": torch.zeros((3, 5), dtype=torch.int64)}, states, None)
        layers = answer.past_key_values.self_attention_cache.layers
        return [(int(layer.keys.shape[1]), int(layer.keys.shape[3])) for layer in layers]
