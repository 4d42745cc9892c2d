"""What a layer has to answer, over sampled positions: the float net's values, seen through what follows.

Asymmetric reconstruction as in AdaRound (Nagel et al., arXiv 2004.10568): x from the quantized net, the answer from the
float net. Two steps further: where the result is added to another value, the layer aims at the sum, so that it makes up
for the noise that came the other way (BRECQ, Li et al., arXiv 2102.05426, reconstructs whole residual blocks); and where
a clip follows, what lies beyond the clip on both sides is no error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, encoding_of, quantize
from bessemer.ir.types import Array
from bessemer.passes.rewrite import is_constant
from bessemer.quantize import patches
from bessemer.quantize.plan import fused_follower

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.stepwise import Stop

BYTES = 1 << 28
"""Of columns that a layer's positions may take."""

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Task:
    """By groups: x (groups, inputs, positions), quantized; wanted (groups, outputs, positions), of the float net; beside:
    what is added to the layer's result, shaped like `wanted`, or None; bounds: what the sum is clipped to.
    """

    x: Array
    wanted: Array
    beside: Array | None
    bounds: Bounds
    counts: tuple[int, ...] = ()
    """Positions of each sample, in their order."""

    @property
    def clips(self) -> bool:
        """Whether anything is clipped."""
        return self.bounds != (-np.inf, np.inf)

    def aim(self, made: Array | None = None) -> Array:
        """What the layer's raw result should be; with `made`, what it is now: beyond the clip it may stay.

        (clip(r) - clip(y))^2 is least over r, and no larger than (r - t)^2, for t = y inside the clip and, outside,
        what is nearest to r of all that clips to the same: the error to t can only fall, and with it that behind the clip.
        """
        if made is None:
            return self.wanted if self.beside is None else self.wanted - self.beside
        total = made if self.beside is None else made + self.beside
        low, high = self.bounds
        aim = np.where(self.wanted <= low, np.minimum(total, low), self.wanted)
        aim = np.where(self.wanted >= high, np.maximum(total, high), aim)
        return aim if self.beside is None else aim - self.beside

    def loss(self, made: Array) -> Array:
        """Squared error behind the clip, by output: (groups, outputs)."""
        total = made if self.beside is None else made + self.beside
        gap = np.clip(total, *self.bounds) - np.clip(self.wanted, *self.bounds)
        return np.asarray(np.square(gap, out=gap).sum(-1, dtype=np.float64))


def task(mine: Stop, theirs: Stop, weight: Array, positions: int, seed: int) -> Task:
    """Of a layer where both walks stand, over random positions, equally many of every sample.

    weight: (groups, outputs, inputs).
    """
    node = mine.node
    groups, outputs, inputs = weight.shape
    added = _added(mine, theirs)
    random = np.random.default_rng(seed)
    xs, ys, besides = list[Array](), list[Array](), list[Array]()
    read, target = mine.inputs(), theirs.run()
    share = max(1, min(positions, BYTES // (4 * groups * (inputs + outputs))) // len(target))
    source = encoding_of(node.inputs[0])
    for place, (x, y) in enumerate(zip(read, target, strict=True)):
        total = patches.positions(node, y.shape)
        places = np.arange(total) if total <= share else np.sort(random.permutation(total)[:share])
        xs.append(patches.columns(node, _read(x, source), y.shape, places))
        wanted = patches.rows(node, y, groups, places)
        if added is not None:
            other, right, encoding = added
            now = _read(other[place], encoding)
            besides.append(patches.rows(node, np.broadcast_to(now, y.shape), groups, places))
            wanted = wanted + patches.rows(node, np.broadcast_to(right[place], y.shape), groups, places)
        ys.append(wanted)
    counts = tuple(x.shape[-1] for x in xs)
    beside = np.concatenate(besides, -1) if besides else None
    return Task(np.concatenate(xs, -1), np.concatenate(ys, -1), beside, bounds(node, added is not None), counts)


def _read(array: Array, encoding: Encoding | None) -> Array:
    """An activation as its readers see it."""
    return array if encoding is None else encoding.dequantize(quantize(array, encoding))


def _added(mine: Stop, theirs: Stop) -> tuple[list[Array], list[Array], Encoding | None] | None:
    """What is added to a layer's result, in the quantized and in the float net, and its encoding."""
    other, right = addend(mine.node), addend(theirs.node)
    now = None if other is None else mine.beside(other)
    then = None if right is None else theirs.beside(right)
    return None if other is None or now is None or then is None else (now, then, encoding_of(other))


def addend(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The other operand where an addition of two computed values is all that reads the result of `node`."""
    result = node.outputs[0]
    uses = list(result.uses())
    if len(uses) != 1 or result.is_graph_output() or uses[0].node.op_type != "Add":
        return None
    other: onnx_ir.Value | None = uses[0].node.inputs[1 - uses[0].idx]
    return None if other is None or other is result or is_constant(other) else other


def bounds(node: onnx_ir.Node, joined: bool = False) -> Bounds:
    """The clip that follows a product (or, `joined`, the addition behind it) and is drawn into it; else infinite."""
    from bessemer.passes.rewrite import constant

    maker = next(iter(node.outputs[0].consumers())) if joined else node
    follower = fused_follower(maker)
    if follower is None or follower.op_type == "Add":
        return -np.inf, np.inf
    if follower.op_type == "Relu":
        return 0.0, np.inf
    ends = [constant(follower.inputs[at]) if at < len(follower.inputs) else None for at in (1, 2)]
    low, high = (None if end is None else float(end.reshape(-1)[0]) for end in ends)
    return -np.inf if low is None else low, np.inf if high is None else high
