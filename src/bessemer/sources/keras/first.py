"""Configs of Keras 1 in the words of Keras 2 (names as in Keras 2's release notes, "Keras 2 API changes", 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D", "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D", "AtrousConv1D": "Conv1D", "AtrousConv2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose", "Deconvolution3D": "Conv3DTranspose", "SeparableConvolution2D":
    "SeparableConv2D", "TimeDistributedDense": "Dense",
}  # fmt: skip
MERGES = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot",
    "cos": "Dot",
}  # fmt: skip
NAMES = {
    "nb_filter": "filters", "subsample": "strides", "subsample_length": "strides", "border_mode": "padding",
    "bias": "use_bias", "output_dim": "units", "inner_activation": "recurrent_activation", "p": "rate",
    "atrous_rate": "dilation_rate", "pool_length": "pool_size", "stride": "strides", "filter_length": "kernel_size",
    "length": "size", "sigma": "stddev", "init": "kernel_initializer", "inner_init": "recurrent_initializer",
}  # fmt: skip
ORDERS = {"th": "channels_first", "tf": "channels_last"}
KEPT = ("Embedding", "Lambda")
"""Layers whose `output_dim` or other fields have the same name in Keras 2."""
KERNELS = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))


def modern(item: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of Keras 1, its wrapped layer included."""
    config = item.get("config")
    if not isinstance(config, Mapping):
        return dict(item)
    kind = str(item["class_name"])
    if kind == "Merge":
        return _merge(item, config)
    held: dict[str, Any] = {}
    for name, value in config.items():
        held[name if kind in KEPT else NAMES.get(str(name), str(name))] = value
    for names in KERNELS:
        if all(name in held for name in names):
            held["kernel_size"] = [held.pop(name) for name in names]
    if "dim_ordering" in held:
        held["data_format"] = ORDERS.get(str(held.pop("dim_ordering")), "channels_last")
    if isinstance(held.get("layer"), Mapping):
        held["layer"] = modern(held["layer"])
    _spell_input(kind, held, config)
    return {**item, "class_name": KINDS.get(kind, kind), "config": held}


def _spell_input(kind: str, held: dict[str, Any], config: Mapping[str, Any]) -> None:
    """The type of an input, and the shape of one that was given by its last axis only."""
    if "input_dtype" in held:
        held["dtype"] = held.pop("input_dtype")
    if held.get("batch_input_shape") is None and config.get("input_dim") and kind != "Embedding":
        middle = [config.get("input_length")] if "input_length" in config else []
        held["batch_input_shape"] = [None, *middle, config["input_dim"]]


def _merge(item: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Merge in a functional model. One that begins a Sequential model holds models and stays as it is: no reader."""
    kind = MERGES.get(str(config.get("mode")), "")
    if not kind or config.get("layers"):
        return dict(item)
    held: dict[str, Any] = {"name": config.get("name")}
    if kind == "Concatenate":
        held["axis"] = config.get("concat_axis", -1)
    if kind == "Dot":
        axes = config.get("dot_axes", -1)
        held |= {"axes": axes, "normalize": config.get("mode") == "cos"}
    return {**item, "class_name": kind, "config": held}
