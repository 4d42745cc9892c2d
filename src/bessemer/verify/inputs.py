"""Inputs generated from a signature by seed: ordinary values, other values, extremes, and a second shape.

Integer inputs stay inside the vocabulary when an embedding tells its size.
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
    if dtype.kind in "iu":
        return _integers(dtype, shape, kind, rng, bounds)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return _reals(shape, kind, rng).astype(dtype)


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
