"""Integer TFLite graphs computed in numpy as LiteRT's reference kernels compute them, layer by layer or as a whole.

An independent check of what a runtime adds to a quantized model: LiteRT's optimised kernels scale their sums in other
ways, and what differs from this is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.runners import tflite_arithmetic as fixed
from bessemer.runners.tflite_arithmetic import Meaning
from bessemer.runners.tflite_softmax import softmax

TYPES: dict[int, tuple[str, str]] = {
    0: ("FLOAT32", "<f4"), 2: ("INT32", "<i4"), 3: ("UINT8", "u1"), 4: ("INT64", "<i8"), 7: ("INT16", "<i2"),
    9: ("INT8", "i1"),
}  # fmt: skip
"""TensorType of the schema: its name, and the numpy type of a buffer."""


@dataclass
class Layer:
    """One operator: its name, option fields, the tensors that it reads (-1: none) and writes."""

    code: str
    options: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def option(self, name: str, default: Any = 0) -> Any:
        """An option as the schema defaults it."""
        found = self.options.get(name)
        return default if found is None else found

    @property
    def activation(self) -> int:
        """The fused activation."""
        return int(self.option("fused_activation_function"))

    @property
    def same(self) -> bool:
        """Whether the padding is SAME."""
        return int(self.option("padding")) == 0

    @property
    def strides(self) -> tuple[int, int]:
        """Along height and width."""
        return int(self.option("stride_h", 1)), int(self.option("stride_w", 1))


class TFLiteReference:
    """The first subgraph of a file. Raises UsageError for an operator or a type that is not emulated."""

    def __init__(self, path: Path) -> None:
        from bessemer.wire.tflite import read
        from bessemer.wire.tflite.schema import BuiltinOperator

        model = read(path)
        graph = model.subgraphs[0]
        self.path, self.tensors = path, graph.tensors
        self.inputs = {graph.tensors[index].name or "": index for index in graph.inputs}
        self.outputs = {graph.tensors[index].name or "": index for index in graph.outputs}
        self.constants = {
            index: _constant(tensor, model.buffers[tensor.buffer].data)
            for index, tensor in enumerate(graph.tensors)
            if tensor.buffer and model.buffers[tensor.buffer].data is not None
        }
        self.layers = []
        for operator in graph.operators:
            code = model.operator_codes[operator.opcode_index]
            name = BuiltinOperator(max(code.builtin_code, code.deprecated_builtin_code)).name
            fields = operator.builtin_options.fields if operator.builtin_options is not None else {}
            self.layers.append(Layer(name, fields, tuple(operator.inputs), tuple(operator.outputs)))

    def meaning(self, index: int) -> Meaning:
        """What a quantized tensor's integers mean. Raises UsageError for one that states nothing."""
        tensor = self.tensors[index]
        stated = tensor.quantization
        if stated is None or not stated.scale:
            raise UsageError(f"Tensor '{tensor.name}' of {self.path.name} states no scale")
        zero = int(stated.zero_point[0]) if stated.zero_point else 0
        kind = TYPES.get(tensor.type, (str(tensor.type), ""))[0]
        return Meaning(kind, np.asarray(stated.scale, np.float32), zero, stated.quantized_dimension)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by tensor name."""
        held = dict(self.constants)
        held.update({index: np.asarray(inputs[name]) for name, index in self.inputs.items()})
        for layer, results in self.walk(held):
            held.update(zip(layer.outputs, results, strict=True))
        return {name: held[index] for name, index in self.outputs.items()}

    def walk(self, held: Mapping[int, Array]) -> Iterator[tuple[Layer, list[Array]]]:
        """Every layer with its results from the arrays held when its turn comes: the caller keeps, or replaces, them."""
        for layer in self.layers:
            yield layer, self.compute(layer, held)

    def compute(self, layer: Layer, held: Mapping[int, Array]) -> list[Array]:
        """Results of one layer from given operands."""
        kernel = KERNELS.get(layer.code)
        if kernel is None:
            raise UsageError(f"{layer.code} is not emulated", fix=f"Emulated are {', '.join(sorted(KERNELS))}")
        made = kernel(self, layer, [None if index < 0 else held[index] for index in layer.inputs])
        return [made]


def _constant(tensor: Any, data: Any) -> Array:
    if tensor.type not in TYPES:
        raise UsageError(f"Tensor '{tensor.name}' has a type that is not emulated")
    return np.frombuffer(data, TYPES[tensor.type][1]).reshape(tensor.shape)


Arrays = list[Any]
Kernel = Callable[[TFLiteReference, Layer, Arrays], Array]


def _three(model: TFLiteReference, layer: Layer) -> tuple[Meaning, Meaning, Meaning]:
    return model.meaning(layer.inputs[0]), model.meaning(layer.inputs[1]), model.meaning(layer.outputs[0])


def _bias(x: Arrays) -> Array | None:
    return x[2] if len(x) > 2 else None


def _conv(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    dilations = int(layer.option("dilation_h_factor", 1)), int(layer.option("dilation_w_factor", 1))
    return fixed.conv(
        x[0], x[1], _bias(x), _three(model, layer), layer.strides, dilations, same=layer.same,
        activation=layer.activation, depthwise=layer.code == "DEPTHWISE_CONV_2D",
    )  # fmt: skip


def _dense(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    made = fixed.dense(x[0], x[1], _bias(x), _three(model, layer), activation=layer.activation)
    return made.reshape(*x[0].shape[:-1], -1) if layer.option("keep_num_dims", False) else made


def _sum(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    sign = 1 if layer.code == "ADD" else -1
    return fixed.add(x[0], x[1], _three(model, layer), activation=layer.activation, sign=sign)


def _mul(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    return fixed.mul(x[0], x[1], _three(model, layer), activation=layer.activation)


def _pool(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    kernel = int(layer.option("filter_height")), int(layer.option("filter_width"))
    pool = fixed.average_pool if layer.code == "AVERAGE_POOL_2D" else fixed.max_pool
    out = model.meaning(layer.outputs[0])
    return pool(x[0], out, kernel, layer.strides, same=layer.same, activation=layer.activation)


def _mean(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    axes = [int(axis) % x[0].ndim for axis in np.atleast_1d(x[1])]
    keep = bool(layer.option("keep_dims", False))
    return fixed.mean_over(x[0], model.meaning(layer.inputs[0]), model.meaning(layer.outputs[0]), axes, keep=keep)


def _softmax(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    means = model.meaning(layer.inputs[0]), model.meaning(layer.outputs[0])
    return softmax(x[0], *means, float(layer.option("beta")))


def _table(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    return fixed.table(x[0], model.meaning(layer.inputs[0]), model.meaning(layer.outputs[0]), layer.code)


def _rescaled(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    out = model.meaning(layer.outputs[0])
    if x[0].dtype == np.float32:
        return fixed.quantized(x[0], out)
    activation = {"RELU": fixed.RELU, "RELU6": fixed.RELU6}.get(layer.code, 0)
    return fixed.requantized(x[0], model.meaning(layer.inputs[0]), out, activation)


def _dequantize(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    mean = model.meaning(layer.inputs[0])
    return np.asarray((x[0].astype(np.int32) - mean.zero).astype(np.float32) * mean.one)


def _reshape(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    return np.asarray(x[0]).reshape([int(dim) for dim in x[1]])


def _transpose(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    return np.asarray(x[0]).transpose([int(axis) for axis in x[1]])


def _pad(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    fill = int(x[2]) if len(x) > 2 else model.meaning(layer.inputs[0]).zero
    return np.pad(x[0], [(int(a), int(b)) for a, b in x[1]], constant_values=fill)


def _concat(model: TFLiteReference, layer: Layer, x: Arrays) -> Array:
    return np.concatenate(x, axis=int(layer.option("axis")))


KERNELS: dict[str, Kernel] = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _conv, "FULLY_CONNECTED": _dense, "ADD": _sum, "SUB": _sum, "MUL": _mul,
    "AVERAGE_POOL_2D": _pool, "MAX_POOL_2D": _pool, "MEAN": _mean, "SOFTMAX": _softmax, "LOGISTIC": _table,
    "TANH": _table, "RELU": _rescaled, "RELU6": _rescaled, "QUANTIZE": _rescaled, "DEQUANTIZE": _dequantize,
    "RESHAPE": _reshape, "TRANSPOSE": _transpose, "PAD": _pad, "PADV2": _pad, "CONCATENATION": _concat,
}  # fmt: skip
