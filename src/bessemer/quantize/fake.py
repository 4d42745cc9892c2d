"""Encodings that act on torch tensors and let gradients through (extra `train`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bessemer.ir.encoding import Encoding, encoding_of
from bessemer.ir.numbers import integer_range, storage, weight_range
from bessemer.passes.materialize import encoded
from bessemer.runners.torch.dtypes import TORCH
from bessemer.runners.torch.executor import Executor
from bessemer.runners.torch.registry import Tensor

if TYPE_CHECKING:
    import onnx_ir


class Fake:
    """Quantize, then dequantize: `s (clip(round(x / s) + z, low, high) - z)`, halves to even, as QuantizeLinear.

    The gradient is that of the straight-through estimator: 1 where nothing is clipped, 0 elsewhere. A scale that takes
    part in training gets LSQ's (Esser et al., arXiv 1902.08153, equation 3): round(x/s) - x/s inside, the clipped
    integer outside. Floats of eight bits round to the nearest of theirs. weight: the integers are those that weights
    may have.
    """

    def __init__(self, encoding: Encoding, shape: tuple[int, ...], *, weight: bool = False) -> None:
        many = encoding.dtype in ("INT32", "INT64")  # a bias has more than 24 bits
        self.wide = wide = torch.float64 if many else torch.float32
        self.narrow_float = None if storage(encoding.dtype).integer else TORCH[encoding.dtype]
        if self.narrow_float is None:
            low, high = (weight_range if weight else integer_range)(encoding.dtype)
        else:
            high = torch.finfo(self.narrow_float).max
            low = -high
        self.low, self.high = low, high
        self.scale = torch.tensor(encoding.spread(encoding.scale, shape).astype("float32"))
        zero = encoding.spread(encoding.zero_point, shape).astype("float64")
        self.zero = torch.tensor(zero).to(wide)

    def __call__(self, x: Tensor, scale: Tensor = None) -> Tensor:
        """scale: in place of the encoding's, of the same shape, with gradients."""
        step = self.scale if scale is None else scale
        with torch.no_grad():
            ratio = x.to(self.wide) / step.to(self.wide)
            steps = torch.round(ratio) + self.zero if self.narrow_float is None else ratio
            inside = (steps >= self.low) & (steps <= self.high)
            clipped = torch.clamp(steps, self.low, self.high)
            if self.narrow_float is not None:
                clipped = clipped.to(self.narrow_float).to(self.wide)
            centred = (clipped - self.zero).to(torch.float32)
            value = (centred * step).to(torch.float32)
        through = value + torch.where(inside, x - x.detach(), torch.zeros_like(x))
        if scale is None:
            return through
        slope = torch.where(inside, centred - ratio.to(torch.float32), centred)
        return through + slope * (scale - scale.detach())


class FakeQuantized:
    """A graph with encodings executed in torch as its Q/DQ emulation computes it (`stage.emulated`).

    Constants with encodings hold dequantized integers; whoever trains one puts a tensor into `executor.constants`.
    seen: values by name as they are read, for the names in `watch`; scales: tensors that take the place of encodings'
    scales, with gradients, by the values' names.
    """

    def __init__(self, graph: onnx_ir.Model, watch: frozenset[str] = frozenset()) -> None:
        self.executor = Executor(graph, self._act)
        self.seen: dict[str, Any] = {}
        self.scales: dict[str, Any] = {}
        self._watch = watch
        self._fakes = {
            value: Fake(encoding, (1,) * (len(value.shape) if value.shape is not None else 0))
            for part in graph.graphs()
            for value in encoded(part)
            if not value.is_initializer() and (encoding := encoding_of(value)) is not None
        }

    def __call__(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """The graph's outputs in their order."""
        self.seen = {}
        return self.executor(inputs)

    def _act(self, value: onnx_ir.Value, tensor: Tensor) -> Tensor:
        fake = self._fakes.get(value)
        result = tensor if fake is None else fake(tensor, self.scales.get(value.name or ""))
        if value.name in self._watch:
            self.seen[value.name or ""] = result
        return result
