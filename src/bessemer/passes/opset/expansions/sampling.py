"""Resize and GridSample where old opsets lack the mode: what each output pixel is made of is known with the sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.passes.expansion import Nodes
from bessemer.passes.opset.expansions.nodes import expansion, given, numpy_type
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir

LARGEST = 1 << 22
"""Elements that the matrices of one Resize may have."""


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized. coordinates: of each output pixel in the input."""

    axis: int
    size: int
    coordinates: Array
    scale: float


@expansion(18, "Resize")
def resize(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """Resize of known sizes: axes are independent, nearest gathers and the rest is a matrix for each axis."""
    if not _is_new(n, node):
        return None
    source, kind, sizes = node.inputs[0], numpy_type(node.inputs[0]), dims(node.inputs[0])
    axes = _axes(node)
    mode = node.attributes.get_string("mode", "nearest") or "nearest"
    if kind is None or sizes is None or axes is None or 0 in sizes:
        return None
    if mode == "nearest":
        return [
            _nearest(n, source, axes, node.attributes.get_string("nearest_mode", "") or "round_prefer_floor")
        ]
    if kind.kind != "f" or sum(axis.size * axis.coordinates.size for axis in axes) > LARGEST:
        return None
    found: Any = source
    for axis in axes:
        found = _product(n, found, axis.axis, len(sizes), _matrix(node, axis, mode).astype(kind))
    return [found]


def _is_new(n: Nodes, node: onnx_ir.Node) -> bool:
    """Whether the adapters cannot say it: later attributes, or anything but the old pixels under opset 11."""
    coordinates = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    later = node.attributes.get_int("antialias", 0) == 1 or coordinates == "half_pixel_symmetric"
    named = (
        "axes" in node.attributes
        or node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
    )
    if later or named or n.want >= 11:
        return later or named
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    if n.want < 10 and _reduces(node):
        return True
    old = coordinates == "asymmetric" and node.attributes.get_string("mode", "nearest") != "cubic"
    return not old or (nearest and node.attributes.get_string("nearest_mode", "") != "floor")


def _reduces(node: onnx_ir.Node) -> bool:
    """Upsample, as it was called under opset 10, only enlarges."""
    before, after = dims(node.inputs[0]), dims(node.outputs[0])
    return before is None or after is None or any(new < old for new, old in zip(after, before, strict=True))


def _axes(node: onnx_ir.Node) -> list[_Axis] | None:
    """The axes that change; None where a scale or a size is not known."""
    before, after = dims(node.inputs[0]), dims(node.outputs[0])
    scales, sizes = constant(given(node, 2)), constant(given(node, 3))
    if (
        before is None
        or after is None
        or (scales is None or scales.size == 0) == (sizes is None or sizes.size == 0)
    ):
        return None
    named = node.attributes.get_ints("axes", None)
    order = [axis % len(before) for axis in (range(len(before)) if named is None else named)]
    ratios = _ratios(node, scales, sizes, [before[axis] for axis in order])
    found = []
    for axis, scale in zip(order, ratios, strict=True):
        if scale == 1.0 and before[axis] == after[axis]:
            continue
        coordinates = _coordinates(node, before[axis], after[axis], scale)
        if coordinates is None:
            return None
        found.append(_Axis(axis, before[axis], coordinates, scale))
    return found


def _ratios(node: onnx_ir.Node, scales: Array | None, sizes: Array | None, before: list[int]) -> list[float]:
    """The scale of each named axis; a policy that keeps the aspect takes one for all."""
    if scales is not None and scales.size:
        return [float(scale) for scale in scales]
    ratios = [] if sizes is None else [float(size) / old for size, old in zip(sizes, before, strict=True)]
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios
    return [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)


def _coordinates(node: onnx_ir.Node, size: int, count: int, scale: float) -> Array | None:
    """Where each output pixel lies in the input (Resize: coordinate_transformation_mode)."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") or "half_pixel"
    pixel = np.arange(count, dtype=np.float64)
    length = scale * size
    if mode == "half_pixel":
        return (pixel + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        middle = size / 2 * (1 - count / length)
        return middle + (pixel + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (pixel + 0.5) / scale - 0.5 if length > 1 else pixel * 0
    if mode == "align_corners":
        return pixel * ((size - 1) / (length - 1)) if length != 1 else pixel * 0
    return pixel / scale if mode == "asymmetric" else None


ROUNDING: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}


def _nearest(n: Nodes, source: Any, axes: list[_Axis], mode: str) -> onnx_ir.Value:
    for axis in axes:
        places = np.clip(ROUNDING[mode](axis.coordinates.astype(np.float32)), 0, axis.size - 1)
        source = n("Gather", source, places.astype(np.int64), axis=axis.axis)
    found: onnx_ir.Value = source
    return found


def _matrix(node: onnx_ir.Node, axis: _Axis, mode: str) -> Array:
    """Input pixels by output pixels: what share each has."""
    stretch = min(axis.scale, 1.0) if node.attributes.get_int("antialias", 0) == 1 else 1.0
    reach = int(np.ceil((2 if mode == "cubic" else 1) / stretch)) + 1
    taps = np.floor(axis.coordinates)[:, None] + np.arange(-reach, reach + 1)
    distance = (axis.coordinates[:, None] - taps) * stretch
    cubic = node.attributes.get_float("cubic_coeff_a", -0.75)
    shares = _cubic(distance, -0.75 if cubic is None else cubic) if mode == "cubic" else _linear(distance)
    if node.attributes.get_int("exclude_outside", 0) == 1:
        shares = np.where((taps >= 0) & (taps < axis.size), shares, 0)
    shares = shares / shares.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.size, axis.coordinates.size))
    pixels = np.broadcast_to(np.arange(axis.coordinates.size)[:, None], taps.shape)
    np.add.at(matrix, (np.clip(taps, 0, axis.size - 1).astype(np.int64), pixels), shares)
    return matrix


def _linear(distance: Array) -> Array:
    share: Array = np.maximum(1 - np.abs(distance), 0)
    return share


def _cubic(distance: Array, a: float) -> Array:
    """Keys' kernel with the coefficient `a`."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    share: Array = np.where(x <= 1, near, np.where(x < 2, far, 0))
    return share


def _product(n: Nodes, value: Any, axis: int, rank: int, matrix: Array) -> onnx_ir.Value:
    """`value` times `matrix` along one axis, which is the last meanwhile."""
    if axis == rank - 1:
        return n("MatMul", value, matrix)
    perm = [place for place in range(rank) if place != axis] + [axis]
    moved = n("MatMul", n("Transpose", value, perm=perm), matrix)
    return n("Transpose", moved, perm=[perm.index(place) for place in range(rank)])


@expansion(20, "GridSample")
def grid_sample(n: Nodes, node: onnx_ir.Node) -> Sequence[onnx_ir.Value] | None:
    """GridSample of known sizes: the corners around each place are fetched by their index and weighed."""
    sizes, grid = dims(node.inputs[0]), dims(node.inputs[1])
    kind = numpy_type(node.inputs[0])
    mode = node.attributes.get_string("mode", "linear") or "linear"
    if sizes is None or grid is None or 0 in (*sizes, *grid) or kind not in (np.float32, np.float64):
        return None
    if mode == "cubic" or (n.want >= 16 and len(sizes) == 4) or numpy_type(node.inputs[1]) != kind:
        return None
    return [_Sampler(n, node, sizes, grid, np.dtype(kind)).sampled(mode)]


class _Sampler:
    """One GridSample: images `sizes` (N, C, D1...), places `grid` (N, o1..., rank)."""

    def __init__(
        self, n: Nodes, node: onnx_ir.Node, sizes: tuple[int, ...], grid: tuple[int, ...], kind: Any
    ) -> None:
        self.n, self.node, self.sizes, self.grid, self.kind = n, node, sizes, grid, kind
        self.space = sizes[2:]
        self.padding = node.attributes.get_string("padding_mode", "zeros") or "zeros"
        self.corners = node.attributes.get_int("align_corners", 0) == 1
        self.flat = n("Reshape", node.inputs[0], int64s([sizes[0], sizes[1], -1]))

    def number(self, value: float) -> Array:
        return np.array(value, self.kind)

    def sampled(self, mode: str) -> onnx_ir.Value:
        """The output, in the shape (N, C, o1...)."""
        places = [self._place(axis) for axis in range(len(self.space))]
        if mode == "nearest":
            found = self._fetched([self.n("Round", place) for place in places])
        else:
            found = self._interpolated(places)
        return self.n("Reshape", found, int64s([*self.sizes[:2], *self.grid[1:-1]]))

    def _place(self, axis: int) -> onnx_ir.Value:
        """Coordinates (N, outputs) in pixels of a spatial axis; the grid names the last axis first."""
        n, size = self.n, self.space[axis]
        picked = n("Gather", self.node.inputs[1], np.array(len(self.space) - 1 - axis, np.int64), axis=-1)
        unit = n("Add", n("Reshape", picked, int64s([self.grid[0], -1])), self.number(1))
        if self.corners:
            place = n("Mul", unit, self.number((size - 1) / 2))
        else:
            place = n("Sub", n("Mul", unit, self.number(size / 2)), self.number(0.5))
        if self.padding == "border":
            return self._held(place, 0, size - 1)
        return self._reflected(place, size) if self.padding == "reflection" else place

    def _held(self, value: Any, low: float, high: float) -> onnx_ir.Value:
        return self.n("Min", self.n("Max", value, self.number(low)), self.number(high))

    def _reflected(self, place: Any, size: int) -> onnx_ir.Value:
        """Folded at the borders: the centres of the outer pixels, or their outer edges."""
        n = self.n
        low, high = (0.0, size - 1.0) if self.corners else (-0.5, size - 0.5)
        span = high - low
        if span == 0:
            return n("Mul", place, self.number(0))
        period = n("Floor", n("Div", n("Sub", place, self.number(low)), self.number(2 * span)))
        rest = n("Sub", n("Sub", place, self.number(low)), n("Mul", period, self.number(2 * span)))
        folded = n("Sub", self.number(span), n("Abs", n("Sub", rest, self.number(span))))
        return self._held(n("Add", folded, self.number(low)), 0, size - 1)

    def _interpolated(self, places: list[onnx_ir.Value]) -> onnx_ir.Value:
        n, total = self.n, None
        floors = [n("Floor", place) for place in places]
        for corner in np.ndindex(*[2] * len(places)):
            at = [n("Add", floor, self.number(step)) for floor, step in zip(floors, corner, strict=True)]
            share: Any = None
            for place, pixel in zip(places, at, strict=True):
                near = n("Sub", self.number(1), n("Abs", n("Sub", place, pixel)))
                share = near if share is None else n("Mul", share, near)
            part = n("Mul", self._fetched(at), n("Unsqueeze", share, int64s([1])))
            total = part if total is None else n("Add", total, part)
        if total is None:
            raise ValueError("a GridSample without spatial axes")
        return total

    def _fetched(self, at: Sequence[onnx_ir.Value]) -> onnx_ir.Value:
        """Pixels (N, C, outputs); zero outside where the padding says so."""
        import onnx_ir

        n, index, inside = self.n, None, None
        for pixel, size in zip(at, self.space, strict=True):
            held = self._held(pixel, 0, size - 1)
            whole = n("Cast", held, to=int(onnx_ir.DataType.INT64))
            index = whole if index is None else n("Add", n("Mul", index, int64s([size])), whole)
            away = n("Abs", n("Sub", pixel, held))
            here = n("Cast", n("Less", away, self.number(0.5)), to=int(self._data_type()))
            inside = here if inside is None else n("Mul", inside, here)
        outputs = int(np.prod(self.grid[1:-1]))
        spread = n("Expand", n("Unsqueeze", index, int64s([1])), int64s([*self.sizes[:2], outputs]))
        found = n("GatherElements", self.flat, spread, axis=2)
        if self.padding != "zeros":
            return found
        outside = n("Not", n("Cast", n("Unsqueeze", inside, int64s([1])), to=int(onnx_ir.DataType.BOOL)))
        return n("Where", outside, self.number(0), found)

    def _data_type(self) -> onnx_ir.DataType:
        import onnx_ir

        return onnx_ir.DataType.from_numpy(self.kind)
