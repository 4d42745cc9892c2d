"""Dense layers, embeddings, and layers that pass their input on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array, Shape
from bessemer.runners.keras.layer import Layer
from bessemer.runners.keras.names import TRAINING_ONLY
from bessemer.sources.channels_last.elementwise import applied, cast, chosen, number
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.shaping import reshape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import activate
from bessemer.sources.keras.registry import layer


def floats(canvas: Canvas, tensor: Ordered) -> Ordered:
    """The tensor in float32."""
    import onnx_ir

    return cast(canvas, tensor, onnx_ir.DataType.FLOAT)


def dense(canvas: Canvas, x: Ordered, kernel: Array, bias: Array | None) -> Ordered:
    """x @ kernel + bias over the last axis."""
    x = floats(canvas, x)
    shape = (*x.shape[:-1], kernel.shape[1])
    inputs = [canvas.at(x), canvas.literal(kernel, "kernel")]
    if x.rank == 2:
        inputs += [] if bias is None else [canvas.literal(bias, "bias")]
        return canvas.result(canvas.emit("Gemm", inputs), shape)
    made = canvas.emit("MatMul", inputs)
    if bias is not None:
        made = canvas.emit("Add", [made, canvas.literal(bias, "bias")])
    return canvas.result(made, shape)


def kernel_of(layer: Layer) -> Array:
    """The kernel as stored, low-rank additions and quantized ones declined."""
    if layer.config.get("lora_rank"):
        raise Unsupported("lora", "it has a low-rank addition (LoRA) beside its kernel", "merge it before saving")
    held = layer.weights[0]
    if held.dtype.kind != "f" and held.dtype.name != "bfloat16":
        raise Unsupported("quantized-weights", f"its kernel is stored quantized ({held.dtype})", "save it in float32")
    return held


def bias_of(layer: Layer, place: int = 1) -> Array | None:
    """The bias, where the layer uses one."""
    return layer.weights[place] if layer.config.get("use_bias", True) else None


@layer("Dense", "TimeDistributedDense")
def dense_layer(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Kernel (depth, units); the last axis is multiplied."""
    made = dense(canvas, inputs[0], kernel_of(layer), bias_of(layer))
    return activate(canvas, made, layer.config.get("activation"), layer.generation)


@layer("EinsumDense")
def einsum_dense(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """An equation 'abc,cd->abd' with the kernel second; a plain product where it is one."""
    (x,), kernel = inputs, kernel_of(layer)
    bias = layer.weights[1] if layer.config.get("bias_axes") else None
    made = einsum(canvas, str(layer.config["equation"]), floats(canvas, x), kernel)
    if bias is not None:
        made = applied(canvas, "Add", made, canvas.constant(bias, "bias"))
    return activate(canvas, made, layer.config.get("activation"), layer.generation)


def einsum(canvas: Canvas, equation: str, x: Ordered, kernel: Array) -> Ordered:
    """numpy's einsum of a tensor and a constant, '...' spelled out."""
    terms, result = equation.replace(" ", "").split("->")
    left, right = terms.split(",")
    left, right, result = (_spelled(term, x.rank, left) for term in (left, right, result))
    sizes: dict[str, Any] = dict(zip(right, kernel.shape, strict=True)) | dict(zip(left, x.shape, strict=True))
    shape = tuple(sizes[letter] for letter in result)
    plain = _product(canvas, left, right, result, x, kernel, shape)
    if plain is not None:
        return plain
    made = canvas.emit(
        "Einsum", [canvas.at(x), canvas.literal(kernel, "kernel")], equation=f"{left},{right}->{result}"
    )
    return canvas.result(made, shape)


def _spelled(term: str, rank: int, left: str) -> str:
    """Letters in the place of an ellipsis: those that no term uses."""
    free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in left]
    return term.replace("...", "".join(free[: rank - len(left.replace("...", ""))]))


def _product(
    canvas: Canvas, left: str, right: str, result: str, x: Ordered, kernel: Array, shape: Shape
) -> Ordered | None:
    """One matrix product where the last axes of x meet the first of the kernel; None where the equation is another."""
    count = sum(letter in left for letter in right)
    kept = left[: len(left) - count]
    if left[len(left) - count :] != right[:count] or result != kept + right[count:] or not count or not kept:
        return None

    depth = int(np.prod(kernel.shape[:count]))
    flat = reshape(canvas, x, (*x.shape[: len(kept)], depth)) if count > 1 else x
    matrix = kernel.reshape(depth, -1)
    product = canvas.emit("MatMul", [canvas.at(flat), canvas.literal(matrix, "kernel")])
    made = canvas.result(product, (*flat.shape[:-1], matrix.shape[1]))
    return reshape(canvas, made, shape) if len(right) - count != 1 else made


@layer("Embedding", "ReversibleEmbedding")
def embedding(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Rows of a table by index; reversed, products with every row."""
    if layer.call.get("reverse"):
        return _reversed(canvas, layer, inputs[0])
    ids, table = whole(canvas, inputs[0]), kernel_of(layer)
    made = canvas.emit("Gather", [canvas.literal(table, "table"), canvas.at(ids)], axis=0)
    return canvas.result(made, (*ids.shape, table.shape[1]))


def _reversed(canvas: Canvas, layer: Layer, x: Ordered) -> Ordered:
    tied = layer.config.get("tie_weights", True)
    kernel = kernel_of(layer).T if tied else layer.weights[1]
    logits = dense(canvas, x, np.ascontiguousarray(kernel), None)
    cap = layer.config.get("logit_soft_cap")
    if cap is None:
        return logits
    bent = applied(canvas, "Tanh", applied(canvas, "Div", logits, number(canvas, float(cap), logits)))
    return applied(canvas, "Mul", bent, number(canvas, float(cap), logits))


def whole(canvas: Canvas, tensor: Ordered) -> Ordered:
    """Indices in a type that Gather takes."""
    import onnx_ir

    if tensor.dtype in (onnx_ir.DataType.INT32, onnx_ir.DataType.INT64):
        return tensor
    return cast(canvas, tensor, onnx_ir.DataType.INT32)


@layer(*TRAINING_ONLY)
def passed(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
    """Layers that do something in training only."""
    return list(inputs)


@layer("LayerScale")
def layer_scale(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """ConvNeXt's (`keras.applications.convnext`): one factor per channel."""
    return applied(canvas, "Mul", floats(canvas, inputs[0]), canvas.constant(layer.weights[0], "gamma"))


@layer("Masking")
def masking(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Ordered:
    """Steps all of whose features are the mask value become zero."""
    (x,) = inputs
    return chosen(canvas, unmasked(canvas, x, layer, keepdims=True), x, number(canvas, 0, x))


def unmasked(canvas: Canvas, x: Ordered, layer: Layer, *, keepdims: bool) -> Ordered:
    """Which steps of a Masking layer's input have a feature other than its mask value."""
    import onnx_ir

    value = number(canvas, float(layer.config.get("mask_value", 0.0)), x)
    same = applied(canvas, "Equal", x, value, dtype=onnx_ir.DataType.BOOL)
    differs = cast(canvas, applied(canvas, "Not", same), onnx_ir.DataType.INT32)
    return cast(canvas, reduced(canvas, differs, "ReduceMax", [-1], keepdims=keepdims), onnx_ir.DataType.BOOL)
