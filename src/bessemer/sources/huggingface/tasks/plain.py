"""Tasks that are one call of one model: text, images and sound in, an answer out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bessemer.sources.huggingface.tasks.base import (
    BATCH,
    EXAMPLE,
    TOKENS,
    Plan,
    Port,
    Tensors,
    accepts,
    picked,
    size_of,
)


def text_ports(model: Any, batch: int | str = BATCH) -> tuple[Port, ...]:
    """input_ids, attention_mask, and token_type_ids of models that tell more than one."""
    config, known = model.config.get_text_config(), accepts(model)
    row = (batch, TOKENS)
    found = [Port("input_ids", "int64", row, int(config.vocab_size))]
    if "attention_mask" in known:
        found.append(Port("attention_mask", "int64", row, 2))
    types = size_of(config, "type_vocab_size") or 0
    if "token_type_ids" in known and types > 1:
        found.append(Port("token_type_ids", "int64", row, int(types)))
    return tuple(found)


def image_port(model: Any, batch: str = BATCH) -> Port:
    """Pixels; height and width are those of the settings where the model has a table of places, else free."""
    config = model.config
    config = getattr(config, "vision_config", None) or config
    channels = size_of(config, "num_channels", "in_channels", "in_chans", "input_channels") or 3
    return Port("pixel_values", "float32", (batch, int(channels), *_sides(config)), 0)


def _sides(config: Any) -> tuple[int | str, int | str]:
    said = size_of(config, "image_size", "input_size")
    if said is None:
        return "height", "width"
    if isinstance(said, dict):
        return int(said["height"]), int(said["width"])
    both = tuple(said) if isinstance(said, (list, tuple)) else (said, said)
    return int(both[0]), int(both[1])


def sound_ports(model: Any) -> tuple[Port, ...]:
    """input_values [batch, samples], or input_features, whose sizes the settings fix."""
    config = model.config
    if model.main_input_name == "input_values" and hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return (Port("input_values", "float32", (BATCH, int(config.max_length), int(config.num_mel_bins))),)
    if model.main_input_name == "input_values":
        return (Port("input_values", "float32", (BATCH, "num_samples")),)
    if hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        frames = 2 * int(config.max_source_positions)
        return (Port("input_features", "float32", (BATCH, int(config.num_mel_bins), frames)),)
    bins = int(size_of(config, "feature_projection_input_dim", "num_mel_bins", "input_feat_per_channel") or 80)
    return (Port("input_features", "float32", (BATCH, "num_frames", bins)),)


def main_ports(model: Any) -> tuple[Port, ...]:
    """By what the model calls its main input. Raises ValueError for one that is none of text, images and sound."""
    main = model.main_input_name
    if main == "input_ids":
        return text_ports(model)
    if main == "pixel_values":
        return (image_port(model),)
    if main in ("input_values", "input_features"):
        return sound_ports(model)
    raise ValueError(f"its main input is '{main}', which is none of text, images and sound")


def plain(model: Any, keys: Sequence[str]) -> Plan:
    """One call, the named parts of its answer."""
    ports = main_ports(model)
    config = model.config
    notes: tuple[str, ...] = ()
    if "logits" in keys and len(keys) == 1 and _needs_padding_token(model):
        ports = tuple(Port(port.name, port.kind, (1, *port.axes[1:]), port.rows) for port in ports)
        notes = ("the settings name no padding token, so the model takes one text at a time",)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepts(model):
        row = (BATCH, "decoder_sequence_length")
        ports = (*ports, Port("decoder_input_ids", "int64", row, int(config.get_text_config(decoder=True).vocab_size)))

    def call(feeds: Tensors) -> dict[str, Any]:
        return picked(model(**feeds, return_dict=True, **_no_cache(model)), keys)

    return Plan(model, ports, call, EXAMPLE, notes)


def _no_cache(model: Any) -> dict[str, bool]:
    return {"use_cache": False} if "use_cache" in accepts(model) else {}


def _needs_padding_token(model: Any) -> bool:
    """Classifiers on decoders look for the last token that is no padding."""
    config = model.config.get_text_config()
    decides = type(model).__name__.endswith("ForSequenceClassification")
    return decides and hasattr(model, "score") and getattr(config, "pad_token_id", None) is None


def text_and_image(model: Any, keys: Sequence[str]) -> Plan:
    """Texts and images of different numbers, compared with one another (CLIP and its kin)."""
    ports = text_ports(model, "text_batch_size")
    ports = (ports[0], image_port(model, "image_batch_size"), *ports[1:])

    def call(feeds: Tensors) -> dict[str, Any]:
        return picked(model(**feeds, return_dict=True), keys)

    return Plan(model, ports, call, EXAMPLE)


def choices(model: Any, keys: Sequence[str]) -> Plan:
    """Several endings of each text."""
    ports = tuple(
        Port(port.name, port.kind, (BATCH, "num_choices", TOKENS), port.rows) for port in text_ports(model)
    )

    def call(feeds: Tensors) -> dict[str, Any]:
        return picked(model(**feeds, return_dict=True), keys)

    return Plan(model, ports, call, {**EXAMPLE, "num_choices": 4})
