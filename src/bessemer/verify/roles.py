"""What an integer input is for, told by the operators that it reaches: sizes, divisors, indices of updates.

Random numbers that contradict the model (a size of zero, a division by zero, two updates of one place, whose order
the standard leaves open) would measure nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bessemer.verify.inputs import Bounds

if TYPE_CHECKING:
    import onnx_ir

SMALL = (1, 4)
LARGEST = 1024
Through = dict[str, tuple[int, ...] | None]
SAME: Through = {"Cast": (0,), "Identity": (0,)}
ARITHMETIC: Through = {
    **SAME, "Add": (0, 1), "Concat": None, "Gather": (0,), "Mul": (0, 1), "Reshape": (0,), "Slice": (0,),
    "Split": (0,), "Squeeze": (0,), "Unsqueeze": (0,),
}  # fmt: skip
"""Operators through which a size stays a size, and at which inputs (None: all)."""
SIZES = {
    ("Expand", 1), ("Reshape", 1), ("ConstantOfShape", 0), ("Tile", 1), ("Resize", 3), ("OneHot", 1), ("TopK", 1),
}  # fmt: skip
DIVISORS = {("Div", 1), ("Mod", 1)}
SHAPED = {("Expand", 1), ("Reshape", 1), ("ConstantOfShape", 0), ("Resize", 3)}
"""Inputs that are the shape of the output."""
INDICES = {("ScatterElements", 1), ("Scatter", 1)}


def bounds_of(value: onnx_ir.Value) -> Bounds | None:
    """Bounds of an integer input, None where nothing is known of its meaning."""
    if value.dtype is None or not value.dtype.is_integer():
        return None
    direct = list(_reached(value, SAME))
    for node, place in direct:
        shape = node.outputs[0].shape
        if (node.op_type, place) in SHAPED and shape is not None and all(isinstance(dim, int) for dim in shape):
            return Bounds(*SMALL, fixed=tuple(int(dim) for dim in shape))  # type: ignore[arg-type]
        if (node.op_type, place) in INDICES and node.attributes.get_string("reduction", "none") == "none":
            return _places(node)
    reached = {(node.op_type, place) for node, place in _reached(value, ARITHMETIC)}
    if reached & SIZES:
        return Bounds(*SMALL, choices=_declared(value))
    return Bounds(*SMALL) if reached & DIVISORS else None


def _declared(value: onnx_ir.Value) -> tuple[int, ...]:
    """Sizes above one that the graph's outputs promise: a size that is fed had better be one of those."""
    if value.graph is None:
        return ()
    shapes = [output.shape for output in value.graph.outputs if output.shape is not None]
    return tuple(sorted({dim for shape in shapes for dim in shape if isinstance(dim, int) and 1 < dim <= LARGEST}))


def _reached(value: onnx_ir.Value, through: Through) -> Iterator[tuple[onnx_ir.Node, int]]:
    """Uses of the value and of what the operators in `through` make of it."""
    pending, seen = [value], {value}
    while pending:
        for node, place in pending.pop().uses():
            yield node, place
            places = through.get(node.op_type, ())
            if (places is None or place in places) and node.outputs[0] not in seen:
                seen.update(node.outputs)
                pending.extend(node.outputs)


def _places(node: onnx_ir.Node) -> Bounds | None:
    """Rows that a scatter may write, each once."""
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    axis = (node.attributes.get_int("axis", 0) or 0) % len(data.shape)
    size = data.shape[axis]
    return Bounds(0, size, distinct=axis) if isinstance(size, int) and size > 0 else None
