"""Which function reads which layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from bessemer.ir.registry import Registry

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer
    from bessemer.sources.drawing import Canvas, Ordered

    Drawn = Ordered | Sequence[Ordered]
    Reader = Callable[[Canvas, Layer, Sequence[Ordered]], Drawn]

_readers: Registry[Reader] = Registry("bessemer.sources.keras.layers")
OTHER_FLOATS = ("float16", "bfloat16", "float64")


def layer(*names: str) -> Callable[[Reader], Reader]:
    """Register the reader of layers, by class name in any generation of Keras. It sees floats as float32 only."""

    def register(reader: Reader) -> Reader:
        @wraps(reader)
        def single(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Drawn:
            note_policy(canvas, layer)
            weights = tuple(_single_array(array) for array in layer.weights)
            return reader(canvas, replace(layer, weights=weights), [_single(canvas, item) for item in inputs])

        _readers(*names)(single)
        return reader

    return register


def _single_array(array: Array) -> Array:
    return array.astype("float32") if array.dtype.name in OTHER_FLOATS else array


def _single(canvas: Canvas, tensor: Ordered) -> Ordered:
    import onnx_ir

    from bessemer.sources.channels_last.elementwise import cast

    kinds = (onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16, onnx_ir.DataType.DOUBLE)
    return cast(canvas, tensor, onnx_ir.DataType.FLOAT) if tensor.dtype in kinds else tensor


def policy_of(config: dict[str, Any]) -> str:
    """The dtype policy's name; 'float32' where none is said."""
    held = config.get("dtype", config.get("dtype_policy"))
    if isinstance(held, dict):
        held = (held.get("config") or {}).get("name")
    return held if isinstance(held, str) else "float32"


def note_policy(canvas: Canvas, layer: Layer) -> None:
    """Say once per policy that it is computed in float32."""
    policy = policy_of(layer.config)
    if not any(word in policy for word in OTHER_FLOATS):
        return
    note = f"Layers of the policy {policy} are computed in float32 (first: '{layer.name}')."
    if not any(held.startswith(f"Layers of the policy {policy} ") for held in canvas.notes):
        canvas.notes.append(note)


readers = _readers.table
"""All readers by class name."""
