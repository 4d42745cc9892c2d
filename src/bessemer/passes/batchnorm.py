"""Fold inference batch normalisation, and per-channel constants, into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.canonical import TRAINED_KEY
from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import (
    LARGE,
    dims,
    drop,
    hold_constant,
    is_constant,
    make_constant,
    owner,
    release,
    replace_value,
)

if TYPE_CHECKING:
    import onnx_ir

LIMIT = 1 << 28
"""Elements up to which weights are rewritten."""


@dataclass(frozen=True)
class FoldBatchNorm:
    """`gamma (Wx + b - mean) / sqrt(var + eps) + beta` becomes `W'x + b'` (Ioffe & Szegedy 2015, section 3.1).

    After Conv, ConvTranspose and Gemm; a batch normalisation that stays becomes Mul and Add.
    """

    name: ClassVar[str] = "fold-batchnorm"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """A layer whose result others read too, or that is encoded, keeps its normalisation; that is said."""
        changed, declined = 0, []
        for node in list(graph.graph.all_nodes()):
            if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
                continue
            reason = _fold(node)
            changed += not reason
            if reason:
                declined.append(f"BatchNormalization '{node.name}': {reason}")
        return PassResult(changed, tuple(declined))


def _fold(norm: onnx_ir.Node) -> str:
    """Fold one node; returns why not, or ''."""
    if not all(is_constant(value) for value in norm.inputs[1:5]):
        return "its statistics are not constant"
    if norm.attributes.get_int("training_mode", 0):
        return "it is in training mode"
    source = norm.inputs[0]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or layer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return "no Conv, ConvTranspose or Gemm stands before it"
    if len(source.uses()) != 1 or source.is_graph_output():
        return f"others read the result of '{layer.name}' too"
    encoded = encoding_of(source) is not None or encoding_of(norm.outputs[0]) is not None
    if encoded or weight_of(layer.inputs[1]) is not None:
        return f"'{layer.name}' is quantized"
    if not is_constant(layer.inputs[1]) or (
        len(layer.inputs) > 2 and layer.inputs[2] and not is_constant(layer.inputs[2])
    ):
        return f"the weights of '{layer.name}' are not constant"
    if layer.op_type == "Gemm" and not _plain_gemm(layer):
        return f"'{layer.name}' scales its operands"
    scale, shift = _affine(norm)
    _absorb(layer, scale, shift)
    tag(layer, *layer_of(layer).split(";"), *layer_of(norm).split(";"))
    replace_value(norm.outputs[0], source)
    source.meta[TRAINED_KEY] = np.abs(_array(norm.inputs[1]).astype(np.float64))
    drop(norm)
    return ""


def _plain_gemm(layer: onnx_ir.Node) -> bool:
    alpha, beta = layer.attributes.get_float("alpha", 1.0), layer.attributes.get_float("beta", 1.0)
    return alpha == 1.0 and beta == 1.0


def _affine(norm: onnx_ir.Node) -> tuple[Array, Array]:
    """Scale and shift per channel, in float64."""
    gamma, beta, mean, var = (_array(value).astype(np.float64) for value in norm.inputs[1:5])
    scale = gamma / np.sqrt(var + (norm.attributes.get_float("epsilon", 1e-5) or 0.0))
    return scale, beta - mean * scale


def _tensor(value: onnx_ir.Value | None) -> onnx_ir.TensorProtocol:
    if value is None or value.const_value is None:
        raise ValueError("a constant was expected")
    return value.const_value


def _array(value: onnx_ir.Value | None) -> Array:
    return _tensor(value).numpy()


def _absorb(layer: onnx_ir.Node, scale: Array, shift: Array) -> None:
    """Scale the weights' output channels and move the bias."""
    weight = _tensor(layer.inputs[1])
    bias = _array(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] is not None else np.zeros(1)
    graph, name = owner(layer), (layer.inputs[1].name if layer.inputs[1] else None) or layer.name or "weight"
    factor = _along_outputs(layer, tuple(weight.shape.numpy()), scale)
    moved = (bias.astype(np.float64) * scale + shift).astype(weight.dtype.numpy())
    layer.replace_input_with(1, hold_constant(graph, _scaled(weight, factor), f"{name}.folded"))
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(2, make_constant(graph, moved, f"{name}.bias"))


def _scaled(weight: onnx_ir.TensorProtocol, factor: Array) -> onnx_ir.TensorProtocol:
    """The product, rounded once to the weight's type; of large weights it is made when it is read, and not kept."""
    import onnx_ir

    def product() -> onnx_ir.TensorProtocol:
        array = weight.numpy()
        result = (array * factor).astype(array.dtype)
        del array
        release(weight)
        return onnx_ir.tensor(result, dtype=weight.dtype)

    if weight.size <= LARGE:
        return product()
    return onnx_ir.LazyTensor(product, weight.dtype, onnx_ir.Shape(weight.shape.numpy()))


def _along_outputs(layer: onnx_ir.Node, shape: tuple[int, ...], scale: Array) -> Array:
    if layer.op_type == "Gemm":
        return scale[:, None] if layer.attributes.get_int("transB", 0) else scale[None, :]
    rest = (1,) * (len(shape) - 2)
    if layer.op_type == "Conv":
        return scale.reshape(-1, 1, *rest)
    groups = layer.attributes.get_int("group", 1) or 1
    per_group = scale.reshape(groups, 1, -1, *rest)  # weight: (in, out / groups, ...)
    return np.broadcast_to(per_group, (groups, shape[0] // groups, shape[1], *rest)).reshape(*shape[:2], *rest)


@dataclass(frozen=True)
class FoldAffine:
    """`Conv(x) * c` and `Conv(x) + c` with constant per-channel c join the layer; so after ConvTranspose and Gemm."""

    name: ClassVar[str] = "fold-affine"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place; a constant that stays although a layer stands before it is named."""
        changed, declined = 0, []
        for node in list(graph.graph.all_nodes()):
            if node.op_type not in ("Mul", "Add") or node.domain not in ("", "ai.onnx"):
                continue
            reason = _fold_affine(node)
            changed += reason == ""
            if reason:
                declined.append(f"{node.op_type} '{node.name}': {reason}")
        return PassResult(changed, tuple(declined))


def _fold_affine(node: onnx_ir.Node) -> str | None:
    """Fold one node; returns why not, '' when it is done, None when no constant follows a layer here."""
    places = [place for place in (0, 1) if is_constant(node.inputs[place])]
    if len(places) != 1 or len(node.inputs) != 2:
        return None
    held, source = node.inputs[places[0]], node.inputs[1 - places[0]]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or held is None or layer.domain not in ("", "ai.onnx"):
        return None
    if layer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
        return None
    if layer.op_type == "Gemm" and not _plain_gemm(layer):
        return f"'{layer.name}' scales its operands"
    given = [value for value in layer.inputs[1:] if value is not None]
    if not all(is_constant(value) and weight_of(value) is None for value in given):
        return f"the weights of '{layer.name}' are quantized or not constant"
    if encoding_of(source) is not None or encoding_of(node.outputs[0]) is not None:
        return f"'{layer.name}' or what follows it is quantized"
    if len(source.uses()) != 1 or source.is_graph_output():
        return f"others read the result of '{layer.name}' too"
    channel = _per_channel(held, source)
    if channel is None:
        return "its constant is not one number per channel"
    ones, zeros = np.ones_like(channel), np.zeros_like(channel)
    if node.op_type == "Mul" and TRAINED_KEY in source.meta:
        source.meta[TRAINED_KEY] = source.meta[TRAINED_KEY] * np.abs(channel)
    _absorb(layer, channel if node.op_type == "Mul" else ones, channel if node.op_type == "Add" else zeros)
    tag(layer, *layer_of(layer).split(";"), *layer_of(node).split(";"))
    replace_value(node.outputs[0], source)
    drop(node)
    return ""


def _per_channel(held: onnx_ir.Value, source: onnx_ir.Value) -> Array | None:
    """The constant as one float64 per channel, when it varies along axis 1 only."""
    shape, constant_shape = source.shape, dims(held)
    if shape is None or constant_shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return None
    padded = (1,) * (len(shape) - len(constant_shape)) + constant_shape
    if (
        len(padded) != len(shape)
        or padded[1] not in (1, shape[1])
        or any(d != 1 for i, d in enumerate(padded) if i != 1)
    ):
        return None
    array = _array(held)
    if array.dtype.kind != "f" or array.size > LIMIT:
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (shape[1],)).copy()
