"""What verification knows of the inside of a model: values both sides can show, and steps of quantized outputs."""

from __future__ import annotations

from bessemer.ir.encoding import encoding_of
from bessemer.ir.layout import inverse
from bessemer.ir.model import Model, layer_of
from bessemer.targets.base import Border, Prepared
from bessemer.verify.divergence import Landmark


def quantization_steps(model: Model) -> dict[str, float]:
    """Size of one step of each quantized output."""
    steps: dict[str, float] = {}
    for value in model.graph.graph.outputs:
        encoding = encoding_of(value)
        if encoding is not None and encoding.per_tensor and value.name:
            steps[value.name] = float(encoding.scale)
    return steps


def landmarks(model: Model, prepared: Prepared) -> list[Landmark]:
    """Values of the canonical graph that stand, under known names, on both sides; in execution order."""
    found: list[Landmark] = []
    for node in model.graph.graph:
        for value in node.outputs:
            place = prepared.values.get(value.name or "")
            if place is None or not value.name:
                continue
            name, order = value.meta.get("bessemer.tensor", (value.name, None))  # canonical = transpose(tensor, order)
            perm = None if order is None else inverse(order)
            mine, theirs = encoding_of(value), prepared.encodings.get(value.name)
            if (mine is None) != (theirs is None):
                continue  # only one side is rounded there
            found.append(Landmark(Border(name, "", perm), place, layer_of(node), node.op_type, mine, theirs))
    return found
