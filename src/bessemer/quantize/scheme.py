"""What a precision means in integers, and which operators compute in them.

The rules are those of the TFLite 8-bit quantization specification (ai.google.dev/edge/litert, "LiteRT 8-bit
quantization specification"): what obeys them, ONNX's Q/DQ form states as well. So one set of encodings serves every
target.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT_PRECISIONS = ("float32", "float16", "bfloat16", "mixed")


@dataclass(frozen=True)
class Scheme:
    """A precision in integers.

    activations, weights: ONNX type names ('INT8', 'INT16', 'INT4'); '' leaves activations float.
    symmetric: activations too have zero point 0. per_channel: one scale for each output channel of a weight.
    power_of_two: scales are powers of two.
    """

    name: str
    activations: str = "INT8"
    weights: str = "INT8"
    bias: str = "INT32"
    symmetric: bool = False
    per_channel: bool = True
    power_of_two: bool = False


SCHEMES = {
    "int8": Scheme("int8"),
    "int16x8": Scheme("int16x8", activations="INT16", bias="INT64", symmetric=True),
    "int8x4": Scheme("int8x4", weights="INT4"),
}
"""Static schemes: weights and activations in integers, chosen from calibration data."""

WEIGHTS = ("int4", "int8-weights", "int8-dynamic", "fp8")
"""Schemes of `quantize.weights`: integers (or small floats) for weights; activations float, quantized as the model runs,
or small floats too."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""They accumulate in int32; their weights may have a scale for each output channel."""

FREE = frozenset({
    "Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Gelu", "Elu", "Abs", "ReduceMean",
    "ReduceSum", "GlobalAveragePool", "Concat",
})  # fmt: skip
"""Integer kernels rescale between any two encodings."""

SAME = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Split", "Gather", "Pad",
    "Resize", "MaxPool", "GlobalMaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth", "Tile", "Expand", "ReduceMax",
    "ReduceMin", "Max", "Min",
})  # fmt: skip
"""Kernels that move integers: input and output share one encoding."""

FIXED: dict[str, dict[str, tuple[float, int]]] = {
    "Sigmoid": {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0)},
    "Softmax": {"INT8": (1 / 256, -128), "INT16": (1 / 32768, 0)},
    "Tanh": {"INT8": (1 / 128, 0), "INT16": (1 / 32768, 0)},
    "LogSoftmax": {"INT8": (16 / 256, 127)},
}
"""Operators whose output encoding the specification states: (scale, zero point) by activation type."""

EIGHT_BITS = frozenset({"PRelu", "HardSwish", "Gelu", "Elu", "DepthToSpace", "SpaceToDepth"})
"""Operators whose integer kernels take 8-bit activations only."""

INTEGER = PRODUCTS | FREE | SAME | frozenset(FIXED)

DATA_ONLY: dict[str, tuple[int, ...]] = {
    "Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "Clip": (0,), "PRelu": (0, 1), "Reshape": (0,),
    "Squeeze": (0,), "Unsqueeze": (0,), "Slice": (0,), "Split": (0,), "Gather": (0,), "Pad": (0,), "Resize": (0,),
    "Tile": (0,), "Expand": (0,), "ReduceMean": (0,), "ReduceSum": (0,), "ReduceMax": (0,), "ReduceMin": (0,),
}  # fmt: skip
"""Inputs that are data; operators that are not named here have data in all of theirs."""

ACTIVATED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul"})
"""Operators into which a following clip at fixed bounds is drawn: the value between them is never stored."""
