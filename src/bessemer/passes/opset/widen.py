"""Types that an old opset lacks for an operator: a wider one that holds every value, between Casts.

Casts of integers to narrower integers drop the high bits, as the standard says; so arithmetic that wraps may be done
in a wider integer. Narrow floats are computed in float32 and rounded once, which no kernel does worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import WIDENED_KEY
from bessemer.ir.encoding import encoding_of
from bessemer.passes.opset.registry import around, set_input, take_over
from bessemer.passes.opset.schemas import allowed, exists, spelled, wrong_type
from bessemer.passes.rewrite import constant, dims

if TYPE_CHECKING:
    import onnx_ir

EXACT = frozenset([
    "ArgMax", "ArgMin", "Clip", "Compress", "Concat", "DepthToSpace", "Equal", "Expand", "EyeLike", "Flatten",
    "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max",
    "MaxPool", "Min", "NonZero", "OneHot", "Pad", "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape",
    "ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "Sign", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where",
])  # fmt: skip
"""They move and compare: any type that holds the values keeping their order will do."""

WRAPPING = frozenset([
    "Abs", "Add", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CumSum", "Div", "MatMul", "Mod",
    "Mul", "Neg", "ReduceProd", "ReduceSum", "Sub",
])  # fmt: skip
"""In a wider integer of the same low bits they give the same low bits."""

TYPED = frozenset([
    "Bernoulli", "BitCast", "Cast", "CastLike", "Dropout", "If", "Loop", "Multinomial", "QuantizeLinear", "Scan",
    "SequenceMap",
])  # fmt: skip
"""The type of the input is part of what they mean, or belongs to somebody else."""

WIDER: dict[str, tuple[str, ...]] = {
    "bool": ("uint8", "int32", "int64", "float"),
    "int8": ("int32", "int64", "float"),
    "int16": ("int32", "int64", "float"),
    "uint8": ("int32", "uint32", "int64", "float"),
    "uint16": ("int32", "uint32", "int64", "float"),
    "int32": ("int64", "double"),
    "uint32": ("int64", "uint64", "double"),
    "float16": ("float", "double"),
    "bfloat16": ("float", "double"),
}
"""Types, as the schemas spell them, that hold all values of a type."""

DATA_TYPES = {"float": "FLOAT", "double": "DOUBLE"}
"""Where the schemas spell a type otherwise than `DataType`."""


def widen(node: onnx_ir.Node, version: int) -> str:
    """Put a wider type around the node where opset `version` lacks its own; the reason where there is none."""
    import onnx.defs

    reason = wrong_type(node, version)
    if not reason or node.op_type in TYPED:
        return reason
    schema = onnx.defs.get_schema(node.op_type, version)
    chosen = _choose(node, schema, version)
    if chosen is None:
        return reason
    for place, value in enumerate(node.inputs):
        wide = chosen.get(_formal(schema.inputs, place).type_str)
        if value is not None and wide is not None:
            _cast_input(node, place, value, wide)
    for place in range(len(node.outputs)):
        wide = chosen.get(_formal(schema.outputs, place).type_str)
        if wide is not None:
            _cast_output(node, place, wide)
    return wrong_type(node, version)


def _formal(formals: Any, place: int) -> Any:
    return formals[min(place, len(formals) - 1)]


def _choose(node: onnx_ir.Node, schema: Any, version: int) -> dict[str, onnx_ir.DataType] | None:
    """The wider type of each type variable that needs one; None where there is none or not all types are known."""
    chosen: dict[str, onnx_ir.DataType] = {}
    for place, value in enumerate(node.inputs):
        formal = _formal(schema.inputs, place)
        if value is None or formal.type_str in chosen:
            continue
        legal = allowed(schema, formal)
        if value.dtype is None:
            return None
        if spelled(value) in legal:
            continue
        found = [
            wide for wide in _candidates(node.op_type, spelled(value)[7:-1]) if f"tensor({wide})" in legal
        ]
        found = [wide for wide in found if _castable(spelled(value), wide, version)]
        if not found or _of_nothing(node):
            return None
        chosen[formal.type_str] = _data_type(found[0])
    return chosen


def _candidates(op: str, narrow: str) -> tuple[str, ...]:
    if narrow in ("float16", "bfloat16") or op in EXACT:
        return WIDER.get(narrow, ())
    if op in WRAPPING and narrow != "bool":
        return tuple(wide for wide in WIDER.get(narrow, ()) if "int" in wide)
    return ()


def _of_nothing(node: onnx_ir.Node) -> bool:
    """Whether the answer may be the lowest or highest value of the type itself: the extremum of no elements."""
    sizes = dims(node.inputs[0])
    extremum = node.op_type in ("ReduceMax", "ReduceMin")
    return extremum and (sizes is None or 0 in sizes)


def _castable(narrow: str, wide: str, version: int) -> bool:
    """Whether Cast takes both types at the opset."""
    import onnx.defs

    schema = onnx.defs.get_schema("Cast", version)
    legal = allowed(schema, schema.inputs[0])
    return exists("Cast", version) and {narrow, f"tensor({wide})"} <= legal


def _data_type(name: str) -> onnx_ir.DataType:
    import onnx_ir

    return onnx_ir.DataType[DATA_TYPES.get(name, name.upper())]


def _cast_input(node: onnx_ir.Node, place: int, value: onnx_ir.Value, wide: onnx_ir.DataType) -> None:
    import onnx_ir

    array = constant(value)
    if array is not None and encoding_of(value) is None:
        set_input(node, place, array.astype(wide.numpy()), f"wide_{place}")
        return
    cast = around(node, "Cast", [value], suffix=f"_{place}", to=int(wide))
    cast.type, cast.shape = onnx_ir.TensorType(wide), value.shape
    node.replace_input_with(place, cast)


def _cast_output(node: onnx_ir.Node, place: int, wide: onnx_ir.DataType) -> None:
    import onnx_ir

    value = node.outputs[place]
    if value.dtype is None or value.dtype == wide:
        return
    back = around(node, "Cast", [value], after=True, suffix=f"_back_{place}", to=int(value.dtype))
    producer = back.producer()
    if producer is not None and wide.is_floating_point():
        producer.meta[WIDENED_KEY] = True
    take_over(node, place, back)
    value.type = onnx_ir.TensorType(wide)
