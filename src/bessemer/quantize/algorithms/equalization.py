"""Cross-layer equalization: channels that use little of their layer's range are scaled up, the next layer undoes it.

For f with f(s x) = s f(x), s > 0, channel c of a layer may be multiplied by s_c and input channel c of the next by
1 / s_c. Nagel et al., "Data-Free Quantization", arXiv 1906.04721, section 4.1: s_c = sqrt(r2_c / r1_c) makes both
ranges sqrt(r1_c r2_c), r1 and r2 the ranges of the two tensors that channel c spans. Meller et al., "Same, Same But
Different", arXiv 1902.01917, take the measured activation as r1; so do we, since a weight has a scale per channel
anyway and an activation has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.rewrite import is_constant, make_constant
from bessemer.quantize.assign import held
from bessemer.quantize.observe import Sample
from bessemer.runners.graph import GraphRunner

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity"})
"""Operators between two products that pass a positive factor per channel along."""

LIMIT = 1024.0
"""Largest factor: beyond it float32 itself loses digits."""


@dataclass(frozen=True)
class Pair:
    """`first` makes the channels, `second` reads them; `value` is what it reads."""

    first: onnx_ir.Node
    second: onnx_ir.Node
    value: onnx_ir.Value


@dataclass
class Equalized:
    """pairs changed, and the largest factor."""

    pairs: int = 0
    factor: float = 1.0
    layers: list[str] = field(default_factory=list)


def pairs(graph: onnx_ir.Graph) -> list[Pair]:
    """All pairs of Conv or Gemm that only homogeneous operators with no other reader join, in graph order."""
    return list(_pairs(graph))


def _pairs(graph: onnx_ir.Graph) -> Iterator[Pair]:
    for node in graph:
        if not is_layer(node):
            continue
        value = node.outputs[0]
        while (user := _only_reader(value)) is not None and user.op_type in HOMOGENEOUS:
            value = user.outputs[0]
        second = user
        if second is not None and is_layer(second) and second.inputs[0] is value and _joined(node, second):
            yield Pair(node, second, value)


def is_layer(node: onnx_ir.Node) -> bool:
    """A Conv, or a Gemm as a dense layer, with float32 weights of its own."""
    import onnx_ir

    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "Gemm"):
        return False
    if node.op_type == "Gemm" and (
        node.attributes.get_int("transA", 0) == 1
        or node.attributes.get_float("alpha", 1.0) != 1
        or node.attributes.get_float("beta", 1.0) != 1
    ):
        return False
    parameters = [value for value in node.inputs[1:3] if value is not None]
    own = all(is_constant(value) and len(value.uses()) == 1 for value in parameters)
    return own and all(value.dtype == onnx_ir.DataType.FLOAT for value in parameters)


def _only_reader(value: onnx_ir.Value) -> onnx_ir.Node | None:
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.domain not in ("", "ai.onnx"):
        return None
    return uses[0].node if len(uses[0].node.outputs) == 1 else None


def _joined(first: onnx_ir.Node, second: onnx_ir.Node) -> bool:
    """Whether channel c of the one is input channel c of the other."""
    if first.op_type != second.op_type or first.op_type == "Gemm":
        return first.op_type == second.op_type
    groups = second.attributes.get_int("group", 1) or 1
    return groups == 1 or rows_of(first).shape[0] % groups == 0


def rows_of(node: onnx_ir.Node) -> Array:
    """The weight with output channels first."""
    weight = node.inputs[1]
    if weight is None:
        raise ValueError(f"{node.name} has no weight")
    array = held(weight)
    turned = node.op_type == "Gemm" and not node.attributes.get_int("transB", 0)
    return array.T if turned else array


def _columns(node: onnx_ir.Node) -> Array:
    """Largest absolute weight that reads each input channel."""
    rows = rows_of(node)
    groups = (node.attributes.get_int("group", 1) or 1) if node.op_type == "Conv" else 1
    split = np.abs(rows).reshape(groups, rows.shape[0] // groups, rows.shape[1], -1)
    return np.asarray(split.max((1, 3)).reshape(-1))


def equalize(model: Model, samples: Iterable[Sample], rounds: int = 3) -> Equalized:
    """Scale every pair of `model`, a float graph, in place; its outputs stay the same up to float rounding."""
    found = pairs(model.graph.graph)
    done = Equalized()
    if not found:
        return done
    reach = channel_reach(model, found, samples)
    changed: set[str] = set()
    for _ in range(rounds):
        for pair in found:
            name = pair.value.name or ""
            factors = _factors(reach[name], _columns(pair.second))
            _scale(model.graph.graph, pair, factors)
            reach[name] = reach[name] * factors
            done.factor = max(done.factor, float(factors.max()), float(1 / factors.min()))
            changed.add(pair.first.name or "")
    done.pairs, done.layers = len(found), sorted(changed)
    return done


def channel_reach(model: Model, found: Sequence[Pair], samples: Iterable[Sample]) -> dict[str, Array]:
    """Largest absolute value of each channel (axis 1) of what each pair passes on."""
    runner = GraphRunner(model.graph, [pair.value.name or "" for pair in found])
    reach: dict[str, Array] = {}
    for sample in samples:
        for name, array in runner.run(sample).items():
            peak = np.abs(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)).max(1)
            reach[name] = np.maximum(reach[name], peak) if name in reach else peak
    return reach


def _factors(first: Array, second: Array) -> Array:
    """s_c = sqrt(r2_c / r1_c), normalised so that the largest range of the first tensor stays; 1 for dead channels."""
    alive = (first > 1e-12 * first.max(initial=0)) & (second > 0) & (first > 0)
    if not alive.any():
        return np.ones_like(first)
    factors = np.ones_like(first, np.float64)
    factors[alive] = np.sqrt(second[alive] / first[alive])
    factors *= first.max() / (first * factors)[alive].max()
    factors[~alive] = 1.0
    return np.asarray(np.clip(factors, 1 / LIMIT, LIMIT))


def _scale(graph: onnx_ir.Graph, pair: Pair, factors: Array) -> None:
    """W1[c] s_c, b1[c] s_c, W2[:, c] / s_c."""
    first, second = pair.first, pair.second
    rows = rows_of(first)
    replace_constant(graph, first, 1, as_weight(first, rows * _as_rows(factors, rows.ndim)))
    if len(first.inputs) > 2 and first.inputs[2] is not None:
        replace_constant(graph, first, 2, held(first.inputs[2]) * factors)
    rows = rows_of(second)
    groups = (second.attributes.get_int("group", 1) or 1) if second.op_type == "Conv" else 1
    per_group = factors.reshape(groups, 1, rows.shape[1], *[1] * (rows.ndim - 2))
    split = rows.reshape(groups, rows.shape[0] // groups, *rows.shape[1:])
    replace_constant(graph, second, 1, as_weight(second, (split / per_group).reshape(rows.shape)))


def _as_rows(factors: Array, rank: int) -> Array:
    return factors.reshape(-1, *[1] * (rank - 1))


def as_weight(node: onnx_ir.Node, rows: Array) -> Array:
    """The way back from `rows_of`."""
    return rows.T if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0) else rows


def replace_constant(graph: onnx_ir.Graph, node: onnx_ir.Node, place: int, array: Array) -> None:
    """A new constant in place of an old one that only this node reads."""
    old = node.inputs[place]
    if old is None or old.name is None:
        raise ValueError(f"{node.name} has no input {place}")
    name = old.name
    graph.initializers.pop(name, None)
    node.replace_input_with(place, make_constant(graph, np.ascontiguousarray(array, np.float32), name))


def replace_bias(graph: onnx_ir.Graph, node: onnx_ir.Node, bias: Array) -> None:
    """A new bias, whether the layer had one or not."""
    real = np.asarray(bias, np.float32)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        replace_constant(graph, node, 2, real)
        return
    node.resize_inputs(3)
    node.replace_input_with(2, make_constant(graph, real, f"{node.outputs[0].name}_bias"))
