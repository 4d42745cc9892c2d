"""What would mend the worst layers: each remedy is an override that a recipe can state, and its gain is measured with it.

Every trial plans and quantizes the model anew (`Replan`), so a gain is what kernels give and not what one value in
floats would: a layer that stays float still reads integers from its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING

from bessemer.ir.model import layer_of
from bessemer.quantize.plan import data_inputs, fused_follower, why_float
from bessemer.quantize.precision import LayerPrecision, Precision, is_called
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import INTEGER, PRODUCTS, SAME
from bessemer.verify.evidence import Mend, Remedy

if TYPE_CHECKING:
    import onnx_ir

LEAST = 0.2
"""Decibels that a remedy must bring to be worth an exception."""


@dataclass(frozen=True)
class Tried:
    """A remedy, what it says in a recipe, and the gain of the outputs in dB."""

    layer: str
    action: str
    layers: tuple[LayerPrecision, ...]
    gain: float

    @property
    def record(self) -> Remedy:
        """For the report."""
        return Remedy(layer=self.layer, action=self.action, gain=self.gain, layers=[str(item) for item in self.layers])


def try_remedies(replan: Replan, worst: Sequence[onnx_ir.Node]) -> list[Tried]:
    """Remedies at these products of the teacher, the largest gain first."""
    from bessemer.quantize.analysis import name_of

    base = replan.snr()
    found = [
        Tried(name_of(node), action, layers, replan.snr(layers) - base)
        for node in worst
        for action, layers in _remedies(replan, node)
    ]
    return sorted(found, key=lambda item: -item.gain)


def _remedies(replan: Replan, node: onnx_ir.Node) -> Iterator[tuple[str, tuple[LayerPrecision, ...]]]:
    graph = replan.teacher.graph.graph
    name = called(graph, node)
    yield "keep it float", (LayerPrecision(name, activations="float"),)
    wide = [
        called(graph, other) for other in [node, *_around(node)]
        if not why_float(other, replan.scheme, replan.how.keep, Precision("INT16", "INT8"))
    ]  # fmt: skip
    if replan.scheme.activations == "INT8" and wide:
        eight = replan.scheme.weights != "INT8"
        yield "16-bit activations around it", (
            *(LayerPrecision(item, activations="int16") for item in dict.fromkeys(wide)),
            *([LayerPrecision(name, weights="int8")] * eight),
        )
    if replan.scheme.weights != "INT8":
        yield "8-bit weights", (LayerPrecision(name, weights="int8"),)
    for method, action in CLIPS.items():
        if method != replan.how.method:
            yield action, (LayerPrecision(name, ranges=method),)


CLIPS = {
    "minmax": "ranges that clip nothing",
    "mse": "ranges by least squared error",
    "percentile": "ranges that clip the tails",
}


def mend(replan: Replan, tried: Sequence[Tried]) -> Mend | None:
    """The remedies that gain together, taken in the order of their own gains; None where none helps."""
    base = best = replan.snr()
    chosen: tuple[LayerPrecision, ...] = ()
    mended: set[str] = set()
    for item in tried:
        if item.gain < LEAST or item.layer in mended:
            continue
        found = replan.snr((*chosen, *item.layers))
        if found >= best + LEAST:
            chosen, best = (*chosen, *item.layers), found
            mended.add(item.layer)
    if not chosen:
        return None
    return Mend(layers=[str(item) for item in dict.fromkeys(chosen)], gain=best - base)


def called(graph: onnx_ir.Graph, node: onnx_ir.Node) -> str:
    """The shortest glob that names `node` and, where its names allow, no other that computes in integers."""
    names = [escape(name) for name in (node.name or "", *layer_of(node).split(";")) if name]
    others = [other for other in graph if other is not node and other.op_type in INTEGER and not _drawn(other, node)]
    alone = (name for name in sorted(names, key=len) if not any(is_called(other, name) for other in others))
    return next(alone, names[0] if names else node.op_type)


def _drawn(node: onnx_ir.Node, into: onnx_ir.Node) -> bool:
    """Whether `node` is an activation or a bias that is drawn into `into`."""
    follower = fused_follower(into)
    while follower is not None and follower is not node:
        follower = fused_follower(follower)
    return follower is node


def _around(node: onnx_ir.Node) -> Iterator[onnx_ir.Node]:
    """Who computes what a product reads, and who reads what it makes, beyond operators that only move values."""
    for value in data_inputs(node)[:1] if node.op_type in PRODUCTS else ():
        yield from _makers(value)
    last = node
    while (follower := fused_follower(last)) is not None:
        last = follower
    yield from _readers(last.outputs[0])


def _makers(value: onnx_ir.Value) -> Iterator[onnx_ir.Node]:
    maker = value.producer()
    if maker is None:
        return
    if maker.op_type in SAME:
        yield maker
        for source in data_inputs(maker):
            yield from _makers(source)
        return
    for source in data_inputs(maker):
        first = source.producer()
        if first is not None and fused_follower(first) is maker:
            yield first
            return
    yield maker


def _readers(value: onnx_ir.Value) -> Iterator[onnx_ir.Node]:
    for reader in value.consumers():
        if reader.op_type not in INTEGER:
            continue
        yield reader
        if reader.op_type in SAME:
            yield from _readers(reader.outputs[0])
