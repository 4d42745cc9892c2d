"""Inputs generated from a signature by seed: ordinary values, other values, extremes, and a second shape.

Integer inputs stay inside the vocabulary when an embedding tells its size. Inputs that look like images get what
images have, an amplitude spectrum that falls with 1/f (Field 1987, "Relations between the statistics of natural
images and the response properties of cortical cells"): on white noise the layers of a trained vision model answer
with values that no image ever gives, and its verdicts hang on the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, named_dtype

if TYPE_CHECKING:
    import onnx_ir

BATCH_DEFAULT, BATCH_SECOND = 1, 2
DYNAMIC_DEFAULT, DYNAMIC_SECOND = 8, 12
SMALLEST_IMAGE = 16
"""Pixels on a side from which on a rank-4 input counts as a batch of images."""


@dataclass(frozen=True)
class InputSet:
    """Named arrays for one run, with a line that says what they are."""

    title: str
    arrays: dict[str, Array]


@dataclass(frozen=True)
class Bounds:
    """Integer inputs: allowed values are low..high-1."""

    low: int
    high: int


def vocabulary_bounds(graph: onnx_ir.Graph) -> dict[str, Bounds]:
    """Bounds of integer inputs that index constant tables (Gather with axis 0, through Cast and reshapes)."""
    found: dict[str, Bounds] = {}
    for value in graph.inputs:
        rows = _rows_indexed_by(value)
        if rows and value.name:
            found[value.name] = Bounds(0, min(rows))
    return found


_TRANSPARENT = {
    "Cast",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Identity",
    "Transpose",
    "Flatten",
    "Expand",
    "Slice",
}


def _rows_indexed_by(value: onnx_ir.Value) -> list[int]:
    rows: list[int] = []
    pending, seen = [value], {id(value)}
    while pending:
        for node, index in pending.pop().uses():
            if node.op_type == "Gather" and index == 1:
                rows += _table_rows(node)
            elif node.op_type in _TRANSPARENT and index == 0 and id(node.outputs[0]) not in seen:
                seen.add(id(node.outputs[0]))
                pending.append(node.outputs[0])
    return rows


def _table_rows(node: onnx_ir.Node) -> list[int]:
    table = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    if (
        table is None
        or table.shape is None
        or axis is None
        or not -len(table.shape) <= axis < len(table.shape)
    ):
        return []
    size = table.shape[axis]
    return [size] if isinstance(size, int) and size > 0 else []


def bind(spec: TensorSpec, symbols: dict[str, int], *, second: bool) -> tuple[int, ...]:
    """Concrete shape: unbound dims get a default (batch first), equal symbols equal sizes."""
    shape: list[int] = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, int):
            shape.append(max(dim, 0))
            continue
        default = (
            (BATCH_SECOND if second else BATCH_DEFAULT)
            if axis == 0
            else (DYNAMIC_SECOND if second else DYNAMIC_DEFAULT)
        )
        shape.append(symbols.setdefault(dim, default) if dim else default)
    return tuple(shape)


def generate(
    signature: Signature, *, seed: int, bounds: Mapping[str, Bounds], dims: Mapping[str, int] | None = None
) -> list[InputSet]:
    """At least three sets (ordinary, unit range, extremes), and one of a second shape where dims are dynamic."""
    sets: list[InputSet] = []
    plans = [
        ("normal values", "normal", False),
        ("unit range", "unit", False),
        ("extremes", "extreme", False),
    ]
    if any(spec.dynamic for spec in signature.inputs):
        plans.append(("a second shape", "normal", True))
    for number, (title, kind, second) in enumerate(plans):
        rng = np.random.default_rng([seed, number])
        symbols = dict(dims or {})
        arrays = {
            spec.name: draw(spec, bind(spec, symbols, second=second), kind, rng, bounds.get(spec.name))
            for spec in signature.inputs
        }
        shapes = ", ".join("x".join(map(str, array.shape)) or "scalar" for array in arrays.values())
        sets.append(InputSet(f"{title}, seed {seed}, shapes {shapes}", arrays))
    return sets


def draw(
    spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator, bounds: Bounds | None
) -> Array:
    """One array of the given kind ('normal', 'unit', 'extreme')."""
    if spec.dtype == "str":
        words = np.array(["bessemer", "a", "", "42", "Ünïcode"], dtype=object)
        return rng.choice(words, size=shape)
    if spec.dtype == "bool":
        return rng.random(shape) < (0.9 if kind == "extreme" else 0.5)
    dtype = named_dtype(spec.dtype)
    axes = image_axes(spec, shape)
    if axes is not None and bounds is None:
        return _pixels(_image(shape, axes, kind, rng), dtype)
    if dtype.kind in "iu":
        return _integers(dtype, shape, kind, rng, bounds)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return _reals(shape, kind, rng).astype(dtype)


def image_axes(spec: TensorSpec, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The two spatial axes of a batch of images (1, 3 or 4 channels, first or last); None for anything else."""
    if len(shape) != 4 or spec.dtype not in ("float32", "float16", "uint8", "int8"):
        return None
    for channel, spatial in ((1, (2, 3)), (3, (1, 2))):
        if shape[channel] in (1, 3, 4) and min(shape[axis] for axis in spatial) >= SMALLEST_IMAGE:
            return spatial
    return None


def _image(
    shape: tuple[int, ...], axes: tuple[int, int], kind: str, rng: np.random.Generator
) -> Array:
    """Standard deviation 1, mean 0, amplitude 1/f over `axes`; 'extreme': only its lowest and highest, in regions."""
    height, width = (shape[axis] for axis in axes)
    white = np.fft.rfft2(rng.standard_normal(shape), axes=axes)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    grid = [1] * len(shape)
    grid[axes[0]], grid[axes[1]] = frequency.shape
    pink = np.fft.irfft2(white / frequency.reshape(grid), (height, width), axes=axes)
    spread = pink / max(float(pink.std()), 1e-12)
    if kind == "extreme":
        return np.where(spread > 0, 4.0, -4.0)
    return np.clip(spread / 6 + 0.5, 0, 1) if kind == "unit" else spread


def _pixels(image: Array, dtype: np.dtype[np.generic]) -> Array:
    """Floats as they are; 8 bits with three standard deviations on either side of the middle."""
    if dtype.kind not in "iu":
        return image.astype(dtype)
    unit = image if image.min() >= 0 else np.clip(image / 6 + 0.5, 0, 1)
    low, high = _integer_range(dtype)
    return np.round(low + unit * (high - 1 - low)).astype(dtype)


def _integers(
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    kind: str,
    rng: np.random.Generator,
    bounds: Bounds | None,
) -> Array:
    low, high = (bounds.low, bounds.high) if bounds else _integer_range(dtype)
    if kind == "extreme":
        return rng.choice(np.array([low, high - 1]), size=shape).astype(dtype)
    return rng.integers(low, high, size=shape).astype(dtype)


def _integer_range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Whole range of 8 and 16 bits (images, quantized tensors); 0..1 for indices and masks of unknown meaning."""
    if dtype.itemsize <= 2:
        bits = 8 * dtype.itemsize
        return (0, 1 << bits) if dtype.kind == "u" else (-(1 << bits - 1), 1 << bits - 1)
    return 0, 2


def _reals(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    if kind == "unit":
        return rng.random(shape)
    if kind == "extreme":
        return rng.choice(np.array([-4.0, -1.0, 0.0, 1.0, 4.0]), size=shape)
    return rng.standard_normal(shape)
