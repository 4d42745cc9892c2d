"""GridSample as gathers of the corners around each sampled point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import dims
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

FLOAT, INT32 = 1, 6


class Sampler:
    """Reads pixels of x (N, C, ...) at coordinates that are tensors of (N, ...)."""

    def __init__(self, nodes: Nodes, node: ir.Node, shape: Sequence[int]) -> None:
        self.nodes, self.sizes = nodes, shape[2:]
        self.align = bool(node.attributes.get_int("align_corners", 0))
        self.padding = node.attributes.get_string("padding_mode", "zeros")
        rank, self.batch = len(shape), shape[0]
        last = nodes("Transpose", node.inputs[0], perm=[0, *range(2, rank), 1])
        self.pixels = nodes("Reshape", last, nodes.constant(np.array([-1, shape[1]]), "shape"))

    def number(self, x: float) -> ir.Value:
        """A float scalar."""
        return self.nodes.constant(np.array(x, np.float32), "number")

    def position(self, grid: ir.Value, axis: int) -> ir.Value:
        """Pixel coordinate along spatial `axis`; the grid holds them last axis first, in [-1, 1]."""
        n, size = self.nodes, self.sizes[axis]
        place = n.constant(np.array(len(self.sizes) - 1 - axis), "place")
        g = n("Gather", grid, place, axis=-1)
        if self.align:
            factor, offset = (size - 1) / 2, (size - 1) / 2
        else:
            factor, offset = size / 2, (size - 1) / 2
        return n("Add", n("Mul", g, self.number(factor)), self.number(offset))

    def inside(self, at: ir.Value, axis: int) -> tuple[ir.Value, ir.Value | None]:
        """A whole coordinate brought inside, and what its pixel counts (None: 1)."""
        n, size = self.nodes, self.sizes[axis]
        weight = None
        if self.padding == "reflection":
            at = self.reflected(at, size)
        clipped = n("Clip", at, self.number(0), self.number(size - 1))
        if self.padding == "zeros":
            weight = n("Cast", n("Equal", clipped, at), to=FLOAT)
        return clipped, weight

    def reflected(self, at: ir.Value, size: int) -> ir.Value:
        """Mirrored at the borders: low + span - |((x - low) mod 2 span) - span|."""
        n, low = self.nodes, 0.0 if self.align else -0.5
        span = float(size - 1 if self.align else size)
        if span == 0:
            return n("Mul", at, self.number(0))
        x = n("Sub", at, self.number(low))
        turns = n("Floor", n("Mul", x, self.number(1 / (2 * span))))
        rest = n("Sub", x, n("Mul", turns, self.number(2 * span)))
        away = n("Abs", n("Sub", rest, self.number(span)))
        return n("Sub", self.number(low + span), away)

    def read(self, corner: Sequence[ir.Value], factors: Sequence[ir.Value]) -> ir.Value:
        """Pixels (N, ..., C) at whole coordinates, times the factors."""
        n = self.nodes
        shape = [self.batch] + [1] * len(self.sizes)
        index = n.constant(np.arange(self.batch, dtype=np.int32).reshape(shape), "batch")
        counts = list(factors)
        for axis, at in enumerate(corner):
            whole, weight = self.inside(at, axis)
            index = n("Mul", index, n.constant(np.array(self.sizes[axis], np.int32), "size"))
            index = n("Add", index, n("Cast", whole, to=INT32))
            counts += [] if weight is None else [weight]
        pixels = n("Gather", self.pixels, index, axis=0)
        if not counts:
            return pixels
        total = counts[0]
        for count in counts[1:]:
            total = n("Mul", total, count)
        return n("Mul", pixels, n("Unsqueeze", total, n.constant(np.array([-1]), "axis")))


@expand("GridSample", needs="known shapes, and linear or nearest sampling")
def grid_sample(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """Nearest and linear; cubic sampling has no rewrite."""
    shape, grid = dims(node.inputs[0]), node.inputs[1]
    mode = node.attributes.get_string("mode", "linear")
    if shape is None or dims(grid) is None or grid is None or mode not in ("linear", "bilinear", "nearest"):
        return None
    sampler = Sampler(nodes, node, shape)
    at = [sampler.position(grid, axis) for axis in range(len(sampler.sizes))]
    nearest = mode == "nearest"
    total = sampler.read([nodes("Round", x) for x in at], []) if nearest else _linear(nodes, sampler, at)
    rank = len(shape)
    return [nodes("Transpose", total, perm=[0, rank - 1, *range(1, rank - 1)])]


def _linear(nodes: Nodes, sampler: Sampler, at: Sequence[ir.Value]) -> ir.Value:
    """The weighted corners of the cell around each point."""
    low = [nodes("Floor", x) for x in at]
    high = [nodes("Add", x, sampler.number(1)) for x in low]
    share = [nodes("Sub", x, y) for x, y in zip(at, low, strict=True)]
    rest = [nodes("Sub", sampler.number(1), x) for x in share]
    parts = []
    for choice in product((0, 1), repeat=len(at)):
        corner = [high[axis] if up else low[axis] for axis, up in enumerate(choice)]
        factors = [share[axis] if up else rest[axis] for axis, up in enumerate(choice)]
        parts.append(sampler.read(corner, factors))
    total = parts[0]
    for part in parts[1:]:
        total = nodes("Add", total, part)
    return total
