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
        last = nodes.op("Transpose", node.inputs[0], perm=[0, *range(2, rank), 1])
        self.pixels = nodes.op("Reshape", last, nodes.const(np.array([-1, shape[1]]), "shape"))

    def number(self, x: float) -> ir.Value:
        """A float scalar."""
        return self.nodes.const(np.array(x, np.float32), "number")

    def position(self, grid: ir.Value, axis: int) -> ir.Value:
        """Pixel coordinate along spatial `axis`; the grid holds them last axis first, in [-1, 1]."""
        n, size = self.nodes, self.sizes[axis]
        place = n.const(np.array(len(self.sizes) - 1 - axis), "place")
        g = n.op("Gather", grid, place, axis=-1)
        if self.align:
            factor, offset = (size - 1) / 2, (size - 1) / 2
        else:
            factor, offset = size / 2, (size - 1) / 2
        return n.op("Add", n.op("Mul", g, self.number(factor)), self.number(offset))

    def inside(self, at: ir.Value, axis: int) -> tuple[ir.Value, ir.Value | None]:
        """A whole coordinate brought inside, and what its pixel counts (None: 1)."""
        n, size = self.nodes, self.sizes[axis]
        weight = None
        if self.padding == "reflection":
            at = self.reflected(at, size)
        clipped = n.op("Clip", at, self.number(0), self.number(size - 1))
        if self.padding == "zeros":
            weight = n.op("Cast", n.op("Equal", clipped, at), to=FLOAT)
        return clipped, weight

    def reflected(self, at: ir.Value, size: int) -> ir.Value:
        """Mirrored at the borders: low + span - |((x - low) mod 2 span) - span|."""
        n, low = self.nodes, 0.0 if self.align else -0.5
        span = float(size - 1 if self.align else size)
        if span == 0:
            return n.op("Mul", at, self.number(0))
        x = n.op("Sub", at, self.number(low))
        turns = n.op("Floor", n.op("Mul", x, self.number(1 / (2 * span))))
        rest = n.op("Sub", x, n.op("Mul", turns, self.number(2 * span)))
        away = n.op("Abs", n.op("Sub", rest, self.number(span)))
        return n.op("Sub", self.number(low + span), away)

    def read(self, corner: Sequence[ir.Value], factors: Sequence[ir.Value]) -> ir.Value:
        """Pixels (N, ..., C) at whole coordinates, times the factors."""
        n = self.nodes
        shape = [self.batch] + [1] * len(self.sizes)
        index = n.const(np.arange(self.batch, dtype=np.int32).reshape(shape), "batch")
        counts = list(factors)
        for axis, at in enumerate(corner):
            whole, weight = self.inside(at, axis)
            index = n.op("Mul", index, n.const(np.array(self.sizes[axis], np.int32), "size"))
            index = n.op("Add", index, n.op("Cast", whole, to=INT32))
            counts += [] if weight is None else [weight]
        pixels = n.op("Gather", self.pixels, index, axis=0)
        if not counts:
            return pixels
        total = counts[0]
        for count in counts[1:]:
            total = n.op("Mul", total, count)
        return n.op("Mul", pixels, n.op("Unsqueeze", total, n.const(np.array([-1]), "axis")))


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
    total = sampler.read([nodes.op("Round", x) for x in at], []) if nearest else _linear(nodes, sampler, at)
    rank = len(shape)
    return [nodes.op("Transpose", total, perm=[0, rank - 1, *range(1, rank - 1)])]


def _linear(nodes: Nodes, sampler: Sampler, at: Sequence[ir.Value]) -> ir.Value:
    """The weighted corners of the cell around each point."""
    low = [nodes.op("Floor", x) for x in at]
    high = [nodes.op("Add", x, sampler.number(1)) for x in low]
    share = [nodes.op("Sub", x, y) for x, y in zip(at, low, strict=True)]
    rest = [nodes.op("Sub", sampler.number(1), x) for x in share]
    parts = []
    for choice in product((0, 1), repeat=len(at)):
        corner = [high[axis] if up else low[axis] for axis, up in enumerate(choice)]
        factors = [share[axis] if up else rest[axis] for axis, up in enumerate(choice)]
        parts.append(sampler.read(corner, factors))
    total = parts[0]
    for part in parts[1:]:
        total = nodes.op("Add", total, part)
    return total
