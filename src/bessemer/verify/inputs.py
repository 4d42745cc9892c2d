"""Inputs generated from a signature by seed: ordinary values, other values, extremes, and a second shape.

Integer inputs stay inside the vocabulary when an embedding tells its size. Inputs that look like images get what
images have, an amplitude spectrum that falls with 1/f (Field 1987, "Relations between the statistics of natural
images and the response properties of cortical cells"): on white noise the layers of a trained vision model answer
with values that no image ever gives, and its verdicts hang on the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import SIZES_KEY
from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, named_dtype
from bessemer.verify.sounds import as_input, samples_wanted, wav
from bessemer.verify.tokens import consistent, role

if TYPE_CHECKING:
    import onnx_ir

BATCH_LIMITS = (1, 2)
"""First and second size of an unbound dim on axis 0."""

UNBOUND = ((8, 12), (1, 2), (64, 96), (512, 768))
"""The same for the other axes; where the original refuses one pair, the next is tried."""

Limits = Mapping[tuple[str, int], tuple[int, int]]
SMALLEST_IMAGE = 16
"""Pixels on a side from which on a rank-4 input counts as a batch of images."""


@dataclass(frozen=True)
class InputSet:
    """Named arrays for one run, with a line that says what they are.

    held: the arrays, or what makes them anew each time: data sets need not fit into memory.
    labels: the right class of each sample, where that is known.
    whole: of a cut model, what the whole original is fed; `held` is what it computed at the cut's inputs.
    """

    title: str
    held: dict[str, Array] | Callable[[], dict[str, Array]]
    labels: Array | None = None
    whole: InputSet | None = None

    @property
    def arrays(self) -> dict[str, Array]:
        """By input name."""
        return self.held() if callable(self.held) else self.held

    @property
    def original(self) -> dict[str, Array]:
        """What the original is fed."""
        return self.arrays if self.whole is None else self.whole.arrays


@dataclass(frozen=True)
class Bounds:
    """Integer inputs: allowed values are low..high-1, or one of `choices` where the graph names some.

    fixed: the only values that make sense; distinct: values do not repeat along this axis; sound: samples of the WAV file
    whose bytes a text input takes.
    """

    low: int
    high: int
    choices: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()
    distinct: int | None = None
    sound: int = 0


def vocabulary_bounds(graph: onnx_ir.Graph) -> dict[str, Bounds]:
    """Bounds of integer inputs that index constant tables (Gather with axis 0, through Cast and reshapes).

    An integer that the graph compares with constants (a sampling rate, a mode) takes one of those; for sizes,
    divisors and indices of updates see `verify.roles`.
    """
    from bessemer.verify.roles import bounds_of

    found: dict[str, Bounds] = {}
    for value in graph.inputs:
        rows = rows_indexed_by(value)
        choices = _compared_with(value)
        sound = samples_wanted(value)
        if sound and value.name:
            found[value.name] = Bounds(0, 0, sound=sound)
        elif rows and value.name:
            found[value.name] = Bounds(0, min(rows))
        elif choices and value.name:
            found[value.name] = Bounds(0, 2, choices)
        elif value.name and (bounds := bounds_of(value)) is not None:
            found[value.name] = bounds
    return found


def _compared_with(value: onnx_ir.Value) -> tuple[int, ...]:
    """Constants that stand beside an integer input in an Equal, in the order of the graph."""
    if value.dtype is None or not value.dtype.is_integer():
        return ()
    choices: list[int] = []
    for node, place in value.uses():
        other = node.inputs[1 - place] if node.op_type == "Equal" else None
        held = None if other is None else other.const_value
        if held is not None and held.size == 1:
            choices.append(int(held.numpy().reshape(-1)[0]))
    return tuple(dict.fromkeys(choices))


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


def rows_indexed_by(value: onnx_ir.Value) -> list[int]:
    """Sizes of the constant tables that a value is looked up in."""
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


def bind(
    spec: TensorSpec,
    symbols: dict[str, int],
    *,
    second: bool,
    limits: Limits | None = None,
    unbound: tuple[int, int] = UNBOUND[0],
) -> tuple[int, ...]:
    """Concrete shape: an unbound dim gets the lower end of its range or a default (batch first).

    The second shape gets the upper end; equal symbols get equal sizes. `limits`: see `generate`.
    """
    shape: list[int] = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, int):
            shape.append(max(dim, 0))
            continue
        first, other = BATCH_LIMITS if axis == 0 else unbound
        first, other = (limits or {}).get((spec.name, axis), (first, other))
        size = other if second else first
        shape.append(_sized(dim, size, symbols) if dim else size)
    return tuple(shape)


def _sized(dim: str, size: int, symbols: dict[str, int]) -> int:
    """The size of a named dim; a sum ('past + current') follows its terms, which get `size` where nobody named them."""
    terms = [term.strip() for term in dim.split("+")]
    if len(terms) == 1 or not all(term.isidentifier() or term.isdigit() for term in terms):
        return symbols.setdefault(dim, size)
    return sum(int(term) if term.isdigit() else symbols.setdefault(term, size) for term in terms)


def ranges(shapes: Mapping[str, Sequence[int | str | tuple[int, int]]]) -> Limits:
    """The ranges among the user's shapes."""
    return {
        (name, axis): dim
        for name, dims in shapes.items()
        for axis, dim in enumerate(dims)
        if isinstance(dim, tuple)
    }


def declared_sizes(graph: onnx_ir.Graph) -> dict[tuple[str, int], tuple[int, int]]:
    """Sizes of free axes that the source says to verify at (`SIZES_KEY`)."""
    return {
        (value.name or "", axis): sizes
        for value in graph.inputs
        for axis, sizes in value.meta.get(SIZES_KEY, {}).items()
        if value.shape is not None and not isinstance(value.shape[axis], int)
    }


def generate(
    signature: Signature,
    *,
    seed: int,
    bounds: Mapping[str, Bounds],
    limits: Limits | None = None,
    unbound: tuple[int, int] = UNBOUND[0],
) -> list[InputSet]:
    """At least three sets (ordinary, unit range, extremes), one of a second shape where dims are dynamic, and where
    inputs hold what earlier calls kept, one without it and one of a single token. Masks and positions of tokens go with
    one another (`tokens.consistent`).

    limits: (input, axis) -> smallest and largest size of an unbound dim; sets are made at both.
    """
    limited = [spec for spec in signature.inputs if any(name == spec.name for name, _ in limits or ())]
    ordered = Signature((*limited, *(spec for spec in signature.inputs if spec not in limited)), ())
    sets: list[InputSet] = []
    plans = [
        ("normal values", "normal", False),
        ("unit range", "unit", False),
        ("extremes", "extreme", False),
    ]
    if signature.dynamic:
        plans.append(("a second shape", "normal", True))
    sizes = [dict[str, int]() for _ in plans]
    for title, known in _steps(signature):
        plans.append((title, "normal", False))
        sizes.append(known)
    for number, (title, kind, second) in enumerate(plans):
        rng = np.random.default_rng([seed, number])
        symbols = sizes[number]
        arrays = {
            spec.name: draw(
                spec,
                bind(spec, symbols, second=second, limits=limits, unbound=unbound),
                kind,
                rng,
                bounds.get(spec.name),
            )
            for spec in ordered.inputs  # a range settles its symbol before others default it
        }
        arrays |= consistent(arrays, signature, bounds, number)
        shapes = ", ".join("x".join(map(str, array.shape)) or "scalar" for array in arrays.values())
        sets.append(InputSet(f"{title}, seed {seed}, shapes {shapes}", arrays))
    return sets


def _steps(signature: Signature) -> list[tuple[str, dict[str, int]]]:
    """Where an input holds what earlier calls kept: the first call, for which that is empty, and a call of one token."""
    names = {dim for spec in signature.inputs for dim in spec.shape if isinstance(dim, str) and dim.isidentifier()}
    past = sorted(name for name in names if "past" in name)
    rows = [spec.shape[1] for spec in signature.inputs if role(spec.name) == "ids" and len(spec.shape) == 2]
    tokens = [dim for dim in rows if isinstance(dim, str) and dim in names]
    if not past or not tokens:
        return []
    return [("nothing kept", dict.fromkeys(past, 0)), ("one token", {tokens[0]: 1})]


def draw(
    spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator, bounds: Bounds | None
) -> Array:
    """One array of the given kind ('normal', 'unit', 'extreme')."""
    if bounds is not None and bounds.sound:
        return as_input(wav(bounds.sound, kind, rng), shape)
    if spec.dtype == "str":
        words = np.array(["bessemer", "a", "", "42", "Ünïcode"], dtype=object)
        return rng.choice(words, size=shape)
    if spec.dtype == "bool":
        return rng.random(shape) < (0.9 if kind == "extreme" else 0.5)
    if spec.dtype in ("sequence", "optional"):
        raise UsageError(
            f"The input '{spec.name}' is {'a' if spec.dtype == 'sequence' else 'an'} {spec.dtype}, "
            "for which Bessemer makes up no values",
            why="verification feeds tensors",
            fix="Cut the model where its inputs are tensors",
        )
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
    if bounds and bounds.choices:
        return rng.choice(np.array(bounds.choices), size=shape).astype(dtype)
    if bounds and len(bounds.fixed) == int(np.prod(shape)):
        return np.array(bounds.fixed).reshape(shape).astype(dtype)
    low, high = (bounds.low, bounds.high) if bounds else _integer_range(dtype)
    if bounds and bounds.distinct is not None and shape[bounds.distinct] <= high - low:
        return _distinct(shape, bounds.distinct, low, high, rng).astype(dtype)
    if kind == "extreme":
        return rng.choice(np.array([low, high - 1]), size=shape).astype(dtype)
    return rng.integers(low, high, size=shape).astype(dtype)


def _distinct(shape: tuple[int, ...], axis: int, low: int, high: int, rng: np.random.Generator) -> Array:
    """Numbers of low..high-1 in random order along `axis`, none twice."""
    whole = (*shape[:axis], high - low, *shape[axis + 1 :])
    order: Array = np.argsort(rng.random(whole), axis=axis)
    return low + np.take(order, np.arange(shape[axis]), axis=axis)


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
