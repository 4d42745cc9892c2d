"""What shapes a layer's weights must have, from its config and its input: a file may say one thing and hold another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bessemer.ir.types import Shape
from bessemer.runners.keras.layer import Layer

CONV = re.compile(r"(Depthwise|Separable|)Conv([123])D(Transpose|)")
GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


def misfit(layer: Layer, shape: Shape) -> str:
    """How the weights contradict the config, for an input of `shape`; '' where they do not, or nothing is known."""
    if any(array.dtype.kind in "iu" for array in layer.weights):
        return ""  # quantized: others in number and in shape, and for the reader to decline
    wanted = expected(layer.kind, layer.config, shape)
    found = [tuple(array.shape) for array in layer.weights]
    if wanted is None or (len(found) == len(wanted) and all(map(_fits, found, wanted))):
        return ""
    return f"its weights have the shapes {_listed(found)} where its config and its input ask for {_listed(wanted)}"


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(
        a == b for a, b in zip(found, wanted, strict=True) if isinstance(b, int)
    )


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join("(" + ", ".join("?" if dim is None else str(dim) for dim in shape) + ")" for shape in shapes) or "none"


def expected(kind: str, config: dict[str, Any], shape: Shape) -> list[Shape] | None:
    """Shapes in order, unknown dims None; None for layers that are not looked at here."""
    if config.get("lora_rank") or not shape:
        return None
    if kind == "Dense":
        return [(_known(shape[-1]), config["units"]), *_bias(config, config["units"])]
    if kind == "Embedding":
        return [(config["input_dim"], config["output_dim"])]
    if kind == "BatchNormalization":
        return _normalization(config, shape, statistics=True)
    if kind == "LayerNormalization":
        return _normalization(config, shape, statistics=False)
    if kind in GATES:
        return _recurrent(GATES[kind], config, shape)
    if found := CONV.fullmatch(kind):
        return _convolution(found[1], int(found[2]), found[3], config, shape)
    return _wrapped(kind, config, shape)


def _known(dim: int | str | None) -> int | None:
    return dim if isinstance(dim, int) else None


def _bias(config: dict[str, Any], units: int | None) -> list[Shape]:
    return [(units,)] if config.get("use_bias", True) else []


def _times(*dims: int | None) -> int | None:
    if any(dim is None for dim in dims):
        return None
    found = 1
    for dim in dims:
        found *= dim or 0
    return found


def _normalization(config: dict[str, Any], shape: Shape, *, statistics: bool) -> list[Shape] | None:
    axes = config.get("axis", -1)
    axes = axes if isinstance(axes, list) else [axes]
    inside = all(isinstance(axis, int) and -len(shape) <= axis < len(shape) for axis in axes)
    if not inside or (len(axes) > 1 and statistics):
        return None
    own: Shape = tuple(_known(shape[axis]) for axis in sorted(axis % len(shape) for axis in axes))
    count = bool(config.get("scale", True)) + bool(config.get("center", True)) + 2 * statistics
    return [own] * count


def _recurrent(gates: int, config: dict[str, Any], shape: Shape) -> list[Shape] | None:
    units, depth = config["units"], _known(shape[-1])
    if gates == 3 and config.get("use_bias", True):
        return None  # two forms of the bias, which its reader tells apart
    return [(depth, gates * units), (units, gates * units), *_bias(config, gates * units)]


def _convolution(form: str, rank: int, transposed: str, config: dict[str, Any], shape: Shape) -> list[Shape] | None:
    if len(shape) != rank + 2:
        return None
    kernel = config["kernel_size"]
    kernel = tuple(kernel) if isinstance(kernel, list | tuple) else (kernel,) * rank
    depth = _known(shape[1 if config.get("data_format") == "channels_first" else -1])
    if form == "Depthwise":
        return _depthwise(kernel, depth, config)
    filters = config["filters"]
    if form == "Separable":
        first = (*kernel, depth, config.get("depth_multiplier", 1))
        second = (*(1,) * rank, _times(depth, config.get("depth_multiplier", 1)), filters)
        return [first, second, *_bias(config, filters)]
    if transposed:
        return [(*kernel, filters, depth), *_bias(config, filters)]
    groups = config.get("groups") or 1
    return [(*kernel, None if depth is None else depth // groups, filters), *_bias(config, filters)]


def _depthwise(kernel: tuple[int, ...], depth: int | None, config: dict[str, Any]) -> list[Shape]:
    many = config.get("depth_multiplier", 1)
    return [(*kernel, depth, many), *_bias(config, _times(depth, many))]


def _wrapped(kind: str, config: dict[str, Any], shape: Shape) -> list[Shape] | None:
    held = config.get("layer")
    if kind not in ("TimeDistributed", "Bidirectional") or not isinstance(held, dict) or len(shape) < 3:
        return None
    inner = shape if kind == "Bidirectional" else (shape[0], *shape[2:])
    found = expected(held["class_name"], held["config"], inner)
    return found * 2 if found and kind == "Bidirectional" else found
