"""Mean and variance of every channel of a value over the calibration data; memory: two numbers per channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.quantize.algorithms.bias_correction import channel_axis
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir


@dataclass
class Moments:
    """Over `count` numbers per channel; spread: sum of squared distances from the mean."""

    count: int
    mean: Array
    spread: Array

    @classmethod
    def of(cls, array: Array, axis: int) -> Moments:
        """Of one array, float64 out of float32."""
        flat = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
        mean = flat.mean(1, dtype=np.float64)
        centred = flat - mean[:, None].astype(np.float32)
        return cls(flat.shape[1], mean, np.einsum("ij,ij->i", centred, centred).astype(np.float64))

    def add(self, other: Moments) -> None:
        """Take in what another saw (Chan, Golub, LeVeque: "Updating formulae", 1979, equations 2.1)."""
        count, shift = self.count + other.count, other.mean - self.mean
        self.spread = self.spread + other.spread + shift**2 * (self.count * other.count / count)
        self.mean = self.mean + shift * (other.count / count)
        self.count = count

    @property
    def variance(self) -> Array:
        """Of each channel."""
        return np.asarray(self.spread / self.count)


def channel_moments(
    graph: onnx_ir.Model, nodes: Sequence[onnx_ir.Node], samples: Iterable[Sample]
) -> dict[onnx_ir.Node, Moments]:
    """Of the raw outputs (no activation yet) of convolutions and dense layers."""
    names = {node: node.outputs[0].name or "" for node in nodes}
    runner = GraphRunner(graph, list(names.values()))
    seen: dict[onnx_ir.Node, Moments] = {}
    for sample in samples:
        found = runner.run(sample)
        for node, name in names.items():
            part = Moments.of(found[name], channel_axis(node))
            if node in seen:
                seen[node].add(part)
            else:
                seen[node] = part
    return seen
