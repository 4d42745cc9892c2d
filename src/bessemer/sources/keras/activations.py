"""Activation functions by Keras's names, and as serialised objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bessemer.sources.channels_last.dims import bounded
from bessemer.sources.channels_last.elementwise import applied, chosen, number
from bessemer.sources.channels_last.reduce import reduced
from bessemer.sources.channels_last.shaping import split
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

PLAIN = {
    "relu": "Relu", "selu": "Selu", "softplus": "Softplus", "softsign": "Softsign", "sigmoid": "Sigmoid",
    "tanh": "Tanh", "exponential": "Exp", "exp": "Exp", "mish": "Mish", "hard_silu": "HardSwish", "hard_swish": "HardSwish",
}  # fmt: skip
"""Names whose meaning is one ONNX operator's."""


def named(spec: Any) -> tuple[str, dict[str, Any]]:
    """(name, options) of an activation as a config holds it; ('linear', {}) for none.

    Raises Unsupported for what is no name: a function or a layer that only its author's program knows.
    """
    if spec is None:
        return "linear", {}
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping):
        kind, config = spec.get("class_name"), spec.get("config")
        if kind == "function" and isinstance(config, str):
            return config, {}
        if isinstance(config, Mapping):
            return str(kind), dict(config)
        if isinstance(kind, str):
            return kind, {}
    raise Unsupported("activation", f"the activation {spec!r} is no name", "use a built-in activation")


def activate(canvas: Canvas, tensor: Ordered, spec: Any, generation: int) -> Ordered:
    """The activation that a config names, applied to `tensor`.

    generation: Keras's major version; hard_sigmoid was a line of slope 0.2 before it was relu6(x + 3) / 6.
    """
    name, options = named(spec)
    if name == "linear":
        return tensor
    if name in PLAIN:
        return applied(canvas, PLAIN[name], tensor)
    if name in LAYERS:
        return _layer(canvas, tensor, name, options, generation)
    if name == "hard_sigmoid":
        slope = 1 / 6 if generation >= 3 else 0.2
        return applied(canvas, "HardSigmoid", tensor, alpha=slope, beta=0.5)
    function = FUNCTIONS.get(name)
    if function is None:
        raise Unsupported("activation", f"the activation '{name}' is not known", "use a built-in activation")
    wanted = function.__kwdefaults__ or {}
    known = {key: item for key, item in options.items() if key in wanted}
    made: Ordered = function(canvas, tensor, **known)
    return made


LAYERS = ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax", "ThresholdedReLU", "Activation")


def _layer(canvas: Canvas, tensor: Ordered, kind: str, config: dict[str, Any], generation: int) -> Ordered:
    from bessemer.runners.keras.layer import Layer
    from bessemer.sources.keras.registry import readers

    if kind == "PReLU":
        raise Unsupported("activation", "a PReLU as another layer's activation has weights of its own")
    made = readers()[kind](canvas, Layer(kind, kind, config, (), generation, canvas.layer, {}), [tensor])
    assert isinstance(made, Ordered)
    return made


def softmax(canvas: Canvas, tensor: Ordered, *, axis: int = -1, op: str = "Softmax") -> Ordered:
    """Softmax or LogSoftmax along one axis of the original."""
    return applied(canvas, op, tensor, axis=tensor.made.index(axis % tensor.rank))


def log_softmax(canvas: Canvas, tensor: Ordered, *, axis: int = -1) -> Ordered:
    """Logarithm of the softmax."""
    return softmax(canvas, tensor, axis=axis, op="LogSoftmax")


def clip(canvas: Canvas, tensor: Ordered, *, low: float | None = None, high: float | None = None) -> Ordered:
    """Within bounds of the tensor's own type."""
    kind = tensor.dtype.numpy()
    bounds = [None if bound is None else canvas.literal(np.asarray(bound, kind), "bound") for bound in (low, high)]
    operands = [canvas.at(tensor, tensor.made), *bounds]
    made = canvas.emit("Clip", operands if high is not None else operands[:2])
    return canvas.result(made, tensor.shape, tensor.made)


def silu(canvas: Canvas, tensor: Ordered) -> Ordered:
    """x times its sigmoid; the passes make one Swish of it."""
    return applied(canvas, "Mul", tensor, applied(canvas, "Sigmoid", tensor))


def relu6(canvas: Canvas, tensor: Ordered) -> Ordered:
    """Between 0 and 6."""
    return clip(canvas, tensor, low=0.0, high=6.0)


def hard_tanh(canvas: Canvas, tensor: Ordered) -> Ordered:
    """Between -1 and 1."""
    return clip(canvas, tensor, low=-1.0, high=1.0)


def leaky_relu(canvas: Canvas, tensor: Ordered, *, negative_slope: float = 0.2) -> Ordered:
    """x, or slope * x below zero."""
    return applied(canvas, "LeakyRelu", tensor, alpha=float(negative_slope))


def elu(canvas: Canvas, tensor: Ordered, *, alpha: float = 1.0) -> Ordered:
    """x, or alpha * (exp(x) - 1) below zero."""
    return applied(canvas, "Elu", tensor, alpha=float(alpha))


def celu(canvas: Canvas, tensor: Ordered, *, alpha: float = 1.0) -> Ordered:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""
    return applied(canvas, "Celu", tensor, alpha=float(alpha))


def gelu(canvas: Canvas, tensor: Ordered, *, approximate: bool = False) -> Ordered:
    """Exact, or by tanh."""
    return applied(canvas, "Gelu", tensor, approximate="tanh" if approximate else None)


def log_sigmoid(canvas: Canvas, tensor: Ordered) -> Ordered:
    """-softplus(-x)."""
    return applied(canvas, "Neg", applied(canvas, "Softplus", applied(canvas, "Neg", tensor)))


def tanh_shrink(canvas: Canvas, tensor: Ordered) -> Ordered:
    """x - tanh(x)."""
    return applied(canvas, "Sub", tensor, applied(canvas, "Tanh", tensor))


def soft_shrink(canvas: Canvas, tensor: Ordered, *, threshold: float = 0.5) -> Ordered:
    """Towards zero by the threshold."""
    return applied(canvas, "Shrink", tensor, lambd=float(threshold), bias=float(threshold))


def hard_shrink(canvas: Canvas, tensor: Ordered, *, threshold: float = 0.5) -> Ordered:
    """Zero within the threshold."""
    return applied(canvas, "Shrink", tensor, lambd=float(threshold), bias=0.0)


def squareplus(canvas: Canvas, tensor: Ordered, *, b: float = 4) -> Ordered:
    """(x + sqrt(x^2 + b)) / 2."""
    squares = applied(canvas, "Add", applied(canvas, "Mul", tensor, tensor), number(canvas, b, tensor))
    total = applied(canvas, "Add", tensor, applied(canvas, "Sqrt", squares))
    return applied(canvas, "Mul", total, number(canvas, 0.5, tensor))


def sparse_plus(canvas: Canvas, tensor: Ordered) -> Ordered:
    """0 below -1, (x + 1)^2 / 4 up to 1, x above."""
    near = clip(canvas, applied(canvas, "Add", tensor, number(canvas, 1, tensor)), low=0.0, high=2.0)
    curve = applied(canvas, "Mul", applied(canvas, "Mul", near, near), number(canvas, 0.25, tensor))
    above = applied(canvas, "GreaterOrEqual", tensor, number(canvas, 1, tensor), dtype=_boolean())
    return chosen(canvas, above, tensor, curve)


def sparse_sigmoid(canvas: Canvas, tensor: Ordered) -> Ordered:
    """0 below -1, a line, 1 above 1."""
    return applied(canvas, "HardSigmoid", tensor, alpha=0.5, beta=0.5)


def glu(canvas: Canvas, tensor: Ordered, *, axis: int = -1) -> Ordered:
    """The first half times the sigmoid of the second one."""
    size = tensor.shape[axis]
    if not isinstance(size, int) or size % 2:
        raise Unsupported("glu-size", f"an axis of {size} has no two halves")
    value, gate = split(canvas, tensor, axis, [size // 2, size // 2])
    return applied(canvas, "Mul", value, applied(canvas, "Sigmoid", gate))


def sparsemax(canvas: Canvas, tensor: Ordered, *, axis: int = -1) -> Ordered:
    """Keras's reading of Martins and Astudillo 2016, algorithm 1: no projection onto the simplex.

    Its threshold adds up all cumulative sums within the support, where the paper takes the last one.
    """
    import onnx_ir

    place = axis % tensor.rank
    size = tensor.shape[place]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "sparsemax over an unbound axis")
    bounded(size)
    at, order = tensor.made.index(place), tensor.made
    count = canvas.literal(np.array([size], np.int64), "count")
    ranked, places = canvas.emit("TopK", [canvas.at(tensor, order), count], axis=at, outputs=2)
    places.dtype = onnx_ir.DataType.INT64
    sums = canvas.emit("CumSum", [ranked, canvas.literal(np.int64(at), "axis")])
    shape = [size if axis == at else 1 for axis in range(tensor.rank)]
    steps = canvas.literal(np.arange(1, size + 1, dtype=tensor.dtype.numpy()).reshape(shape), "steps")
    one = canvas.literal(np.asarray(1, tensor.dtype.numpy()), "one")
    reach = canvas.emit("Add", [canvas.emit("Mul", [ranked, steps]), one])
    inside = canvas.emit("Greater", [reach, sums], dtype=onnx_ir.DataType.BOOL)
    weight = canvas.emit("Cast", [inside], to=int(tensor.dtype), dtype=tensor.dtype)
    support = canvas.result(weight, tensor.shape, order)
    kept = canvas.result(canvas.emit("Mul", [sums, weight]), tensor.shape, order)
    total = reduced(canvas, kept, "ReduceSum", [place], keepdims=True)
    counted = reduced(canvas, support, "ReduceSum", [place], keepdims=True)
    level = applied(canvas, "Div", applied(canvas, "Sub", total, number(canvas, 1, tensor)), counted)
    return applied(canvas, "Relu", applied(canvas, "Sub", tensor, level))


def _boolean() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


FUNCTIONS: dict[str, Any] = {
    "softmax": softmax, "log_softmax": log_softmax, "relu6": relu6, "silu": silu,
    "swish": silu, "hard_tanh": hard_tanh, "leaky_relu": leaky_relu,
    "elu": elu, "celu": celu, "gelu": gelu, "log_sigmoid": log_sigmoid, "tanh_shrink": tanh_shrink,
    "soft_shrink": soft_shrink, "hard_shrink": hard_shrink, "squareplus": squareplus, "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid, "glu": glu, "sparsemax": sparsemax,
}  # fmt: skip
