"""Weights in eight bits beside float activations, which the kernels quantize while they run: no calibration data.

TFLite's "dynamic range" form: symmetric INT8 weights, one scale for each output channel; activations are quantized for
each row (or image) by what they hold. A node says so by `ir.canonical.HYBRID_KEY`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bessemer.ir.canonical import HYBRID_KEY
from bessemer.ir.encoding import QuantizedWeight, encoding_of, set_weight
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.passes.rewrite import is_constant
from bessemer.quantize import recurrent
from bessemer.quantize.assign import held, weight_encoding
from bessemer.quantize.plan import output_axis

if TYPE_CHECKING:
    import onnx_ir

LEAST = 1024
"""Elements below which a weight is not worth it; TFLite's converter draws the line at the same size."""


@dataclass
class Hybrid:
    """What became hybrid, and which products stayed float for what reason."""

    weights: int = 0
    floats: list[tuple[str, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """For the report."""
        said = [f"{self.weights} weights are int8; their kernels quantize the activations while the model runs."]
        return said + [f"'{layer}' stays float: {reason}." for layer, reason in self.floats]


def make_hybrid(model: Model, keep: Sequence[str] = ()) -> Hybrid:
    """Quantize the weights of convolutions and dense layers in place.

    keep: globs of node, layer or operator names that stay float. Raises UsageError where nothing can be quantized.
    """
    done, taken = Hybrid(), dict[object, int]()
    for node in model.graph.graph:
        if node.op_type in recurrent.KINDS and node.domain in ("", "ai.onnx"):
            _recurrent(node, keep, done)
            continue
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            continue
        reason = _why_float(node, keep) or _why_shared(node, taken)
        if reason:
            done.floats.append((layer_of(node) or node.name or node.op_type, reason))
            continue
        weight = node.inputs[1]
        if weight is not None and weight not in taken:
            _quantize_weight(weight, output_axis(node))
            taken[weight] = output_axis(node)
            done.weights += 1
        node.metadata_props[HYBRID_KEY] = "asymmetric"
    if not done.weights:
        raise UsageError(
            "There is nothing to quantize: no convolution or dense layer has a large constant weight",
            why="; ".join(f"'{layer}': {reason}" for layer, reason in done.floats[:3]),
        )
    return done


def _recurrent(node: onnx_ir.Node, keep: Sequence[str], done: Hybrid) -> None:
    reason = recurrent.why_float(node, keep, LEAST)
    if reason:
        done.floats.append((layer_of(node) or node.name or node.op_type, reason))
        return
    done.weights += len(recurrent.quantize_recurrent(node))


def _quantize_weight(weight: onnx_ir.Value, axis: int) -> None:
    real = held(weight)
    encoding = weight_encoding(real, axis)
    set_weight(weight, QuantizedWeight(encoding.quantize(real), encoding))


def _why_shared(node: onnx_ir.Node, taken: dict[object, int]) -> str:
    """A weight has one set of scales, and every reader must take it as integers."""
    weight = node.inputs[1]
    if weight is None or weight in taken:
        return "" if weight is not None and taken[weight] == output_axis(node) else "its weight is another layer's, turned"
    others = [user for user in weight.consumers() if user is not node]
    if weight.is_graph_output() or any(_why_float(user, ()) or user.inputs[1] is not weight for user in others):
        return "its weight is read by others, too"
    return "" if encoding_of(weight) is None else "its weight is quantized already"


def _why_float(node: onnx_ir.Node, keep: Sequence[str]) -> str:
    """Why there is no hybrid kernel for a product; '' where there is one."""
    import onnx_ir

    x, weight = node.inputs[0], node.inputs[1]
    names = (node.name or "", node.op_type, *layer_of(node).split(";"))
    pattern = next((glob for glob in keep if any(fnmatchcase(name, glob) for name in names if name)), "")
    if pattern:
        return f"kept by '{pattern}'"
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return f"no hybrid kernel for {node.op_type}"
    if x is None or weight is None or not is_constant(weight) or weight.shape is None:
        return "its weight is computed"
    if x.dtype != onnx_ir.DataType.FLOAT or weight.dtype != onnx_ir.DataType.FLOAT:
        return "its data is not float32"
    if math.prod(weight.shape.numpy()) < LEAST:
        return f"its weight has fewer than {LEAST} elements"
    return _odd_form(node, len(weight.shape))


def _odd_form(node: onnx_ir.Node, rank: int) -> str:
    attributes = node.attributes
    if node.op_type == "Conv" and rank not in (3, 4):
        return "no hybrid kernel convolves over more than two axes"
    if node.op_type == "MatMul" and rank != 2:
        return "no hybrid kernel for a batch of weights"
    plain = attributes.get_float("alpha", 1.0) == 1 and attributes.get_float("beta", 1.0) == 1
    if node.op_type == "Gemm" and (attributes.get_int("transA", 0) == 1 or not plain):
        return "a Gemm with transA, alpha or beta has no hybrid kernel"
    return ""
