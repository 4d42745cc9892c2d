"""Operators written out for opsets that do not have them yet, shorter than their bodies in the standard.

Only for float32 and narrower, and where nothing but the first output is read; everything else takes the standard's
body (see `decompose`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import FUSED_KEY
from bessemer.ir.model import layer_of, tag
from bessemer.ir.types import Array
from bessemer.passes.opset.registry import DOWNGRADES, downgrade
from bessemer.passes.rewrite import make_constant, owner

if TYPE_CHECKING:
    import onnx_ir


SPELLED = {"Swish": 24, "GroupNormalization": 21}
"""Operators, with the opset of their adapter below, that ONNX Runtime 1.31 has no kernel for: it takes the standard's
body, which for GroupNormalization needs twice the time, and of Swish it knows none from opset 25 on.
"""


def spell_fused(graph: onnx_ir.Model) -> None:
    """What a pass joined and no runtime would gain from is written as the source had it."""
    for node in list(graph.graph.all_nodes()):
        if FUSED_KEY in node.meta and node.op_type in SPELLED:
            DOWNGRADES[node.op_type, SPELLED[node.op_type]](node)


class Spelling:
    """Writes nodes before `node`; `close` makes `node` itself the last of them, so its output never moves."""

    def __init__(self, node: onnx_ir.Node) -> None:
        self.node, self.count = node, 0

    def add(self, op: str, *inputs: onnx_ir.Value | None, **attributes: Any) -> onnx_ir.Value:
        """A new node; its result has the type of its first input."""
        import onnx_ir

        made = onnx_ir.node(op, list(inputs), attributes=attributes)
        tag(made, *layer_of(self.node).split(";"))
        result, self.count = made.outputs[0], self.count + 1
        result.type = inputs[0].type if inputs[0] is not None else None
        result.name = f"{self.node.outputs[0].name}_{op.lower()}_{self.count}"
        owner(self.node).insert_before(self.node, made)
        return result

    def constant(self, array: Array, name: str) -> onnx_ir.Value:
        """An initializer."""
        return make_constant(owner(self.node), array, f"{self.node.outputs[0].name}_{name}")

    def scalar(self, number: float, name: str, like: onnx_ir.Value | None = None) -> onnx_ir.Value:
        """A scalar of the type of `like`, or of the node's data."""
        model = like or self.node.inputs[0]
        if model is None or model.dtype is None:
            raise ValueError(f"the data of {self.node.name} has no type")
        return self.constant(np.array(number, model.dtype.numpy()), name)

    def cast(self, value: onnx_ir.Value | None, dtype: onnx_ir.DataType) -> onnx_ir.Value | None:
        """`value` in another type; itself when it has it."""
        import onnx_ir

        if value is None or value.dtype == dtype:
            return value
        result = self.add("Cast", value, to=int(dtype))
        result.type = onnx_ir.TensorType(dtype)
        return result

    def close(self, op: str, *inputs: onnx_ir.Value | None) -> str:
        """`node` becomes `op` of `inputs`."""
        node = self.node
        node.op_type = op
        node.attributes.clear()
        node.resize_inputs(len(inputs))
        for place, value in enumerate(inputs):
            node.replace_input_with(place, value)
        node.resize_outputs(1)
        return ""


def _plain(node: onnx_ir.Node) -> bool:
    """Whether the node's data is float32 or narrower and only its first output is read."""
    import onnx_ir

    kinds = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16)
    read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return node.inputs[0] is not None and node.inputs[0].dtype in kinds and not read


@downgrade(24, "Swish")
def swish(node: onnx_ir.Node) -> str:
    """x sigmoid(alpha x)."""
    if not _plain(node):
        return ""
    x, alpha, to = node.inputs[0], node.attributes.get_float("alpha", 1.0) or 0.0, Spelling(node)
    inner = x if alpha == 1.0 else to.add("Mul", x, to.scalar(alpha, "alpha"))
    return to.close("Mul", x, to.add("Sigmoid", inner))


@downgrade(20, "Gelu")
def gelu(node: onnx_ir.Node) -> str:
    """x / 2 (1 + erf(x / sqrt(2))), the form that runtimes look for; by tanh likewise."""
    if not _plain(node):
        return ""
    x, to = node.inputs[0], Spelling(node)
    if node.attributes.get_string("approximate", "none") == "tanh":
        cube = to.add("Mul", to.add("Mul", to.add("Mul", x, x), x), to.scalar(0.044715, "cubic"))
        slope = to.scalar(float(np.sqrt(2 / np.pi)), "slope")
        bent = to.add("Tanh", to.add("Mul", to.add("Add", x, cube), slope))
    else:
        bent = to.add("Erf", to.add("Div", x, to.scalar(float(np.sqrt(2)), "root")))
    share = to.add("Mul", x, to.add("Add", bent, to.scalar(1.0, "one")))
    return to.close("Mul", share, to.scalar(0.5, "half"))


def _trailing(node: onnx_ir.Node) -> list[int]:
    """The axes from the node's axis on, counted from the end; empty when the rank is unknown."""
    axis, source = node.attributes.get_int("axis", -1) or 0, node.inputs[0]
    if axis < 0:
        return list(range(axis, 0))
    return list(range(axis - len(source.shape), 0)) if source is not None and source.shape is not None else []


@downgrade(17, "LayerNormalization")
@downgrade(23, "RMSNormalization")
def normalization(node: onnx_ir.Node) -> str:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias; of the root mean square without the mean.

    Narrow data is standardized in float32, as the operators do it.
    """
    import onnx_ir

    axes, source = _trailing(node), node.inputs[0]
    if not _plain(node) or not axes or source is None or source.dtype is None:
        return ""
    if node.attributes.get_int("stash_type", 1) != int(onnx_ir.DataType.FLOAT):
        return ""
    to = Spelling(node)
    wide = to.cast(source, onnx_ir.DataType.FLOAT)
    along = to.constant(np.array(axes, np.int64), "axes")
    epsilon = to.scalar(node.attributes.get_float("epsilon", 1e-5) or 0.0, "epsilon", wide)
    centred = wide
    if node.op_type == "LayerNormalization":
        centred = to.add("Sub", wide, to.add("ReduceMean", wide, along, keepdims=1))
    variance = to.add("ReduceMean", to.add("Mul", centred, centred), along, keepdims=1)
    unit = to.cast(to.add("Div", centred, to.add("Sqrt", to.add("Add", variance, epsilon))), source.dtype)
    scale, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return to.close("Mul", unit, scale)
    return to.close("Add", to.add("Mul", unit, scale), bias)


@downgrade(21, "GroupNormalization")
def group_normalization(node: onnx_ir.Node) -> str:
    """Groups are channels of their own for InstanceNormalization; scale and bias per channel come after it."""
    x, groups = node.inputs[0], node.attributes.get_int("num_groups", 1) or 1
    if x is None or x.dtype is None or x.shape is None:
        return "the shape of its input is unknown, and its scale and bias are per channel"
    to, kind, spread = Spelling(node), x.dtype.numpy(), [-1] + [1] * (len(x.shape) - 2)
    grouped = to.add("Reshape", x, to.constant(np.array([0, groups, -1], np.int64), "groups"))
    ones, zeros = (
        to.constant(np.full(groups, fill, kind), name) for fill, name in ((1, "ones"), (0, "zeros"))
    )
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    unit = to.add("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
    back = to.add("Reshape", unit, _shape_of(to, x))
    column = to.constant(np.array(spread, np.int64), "column")
    scale, bias = (to.add("Reshape", value, column) for value in node.inputs[1:3])
    return to.close("Add", to.add("Mul", back, scale), bias)


def _shape_of(to: Spelling, x: onnx_ir.Value) -> onnx_ir.Value:
    """As a constant where it is known."""
    import onnx_ir

    from bessemer.passes.rewrite import dims

    known = dims(x)
    if known is not None:
        return to.constant(np.array(known, np.int64), "shape")
    shape = to.add("Shape", x)
    shape.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    return shape
