"""If and Case: the branch that is known to be taken, or both as subgraphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.reading import Reading, inside, structure
from bessemer.sources.tensorflow.values import Value, borrowed


@structure("DeviceIndex")
def device_index(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """Which device runs the node: the processor, here."""
    names = node.attrs.get("device_names") or []
    return [canvas.constant(np.array(names.index("CPU") if "CPU" in names else len(names), np.int32), node.name)]


@structure("If", "StatelessIf")
def branch(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """A number is true unless it is zero, a tensor of a rank unless it is empty."""
    condition = _tensor(inputs[0])
    branches = [node.attrs.get("then_branch"), node.attrs.get("else_branch")]
    if condition.known is not None or (condition.rank and all(isinstance(dim, int) for dim in condition.shape)):
        held = condition.known
        truth = bool(held) if held is not None and held.ndim == 0 else 0 not in condition.static
        return reading.call(canvas, branches[0 if truth else 1], inputs[1:], inside(name))
    if condition.rank:
        raise Unsupported("condition", f"it asks whether a tensor of unbound dims {list(condition.shape)} is empty")
    return either(reading, canvas, _boolean(canvas, condition), branches, inputs[1:], name)


@structure("Case", "StatelessCase")
def case(reading: Reading, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
    """The branch of a number; a number out of range takes the last one. What is computed becomes a chain of two ways."""
    index, branches = _tensor(inputs[0]), list(node.attrs.get("branches") or [])
    if index.known is not None:
        number = int(index.known)
        return reading.call(canvas, branches[number if 0 <= number < len(branches) else -1], inputs[1:], inside(name))
    if len(branches) == 1:
        return reading.call(canvas, branches[0], inputs[1:], inside(name))
    if len(branches) > 2:
        raise Unsupported("branches", f"it chooses among {len(branches)} branches by a computed number", "use tf.cond")
    import onnx_ir

    zero = canvas.literal(np.zeros((), index.dtype.numpy()))
    chosen = canvas.result(canvas.emit("Equal", [canvas.at(index), zero], dtype=onnx_ir.DataType.BOOL), ())
    return either(reading, canvas, chosen, branches, inputs[1:], name)


def either(
    reading: Reading, canvas: Canvas, condition: Ordered, branches: Sequence[str | None], inputs: Sequence[Value], name: str
) -> list[Value]:
    """Both branches as subgraphs that read their operands from around them."""
    import onnx_ir

    inner, results = [], []
    for branch in branches:
        part = Canvas(canvas.notes, canvas)
        before = len(canvas.blockers)
        made = reading.call(part, branch, [borrowed(value) for value in inputs], inside(name))
        if len(canvas.blockers) > before:
            raise Unsupported("branch", f"a branch of it, '{branch}', cannot be read")
        results.append([_tensor(value) for value in made])
        canvas.layer = part.layer = name
        inner.append(part)
    shapes = [merged(first.shape, second.shape) for first, second in zip(*results, strict=True)]
    kinds = [first.dtype for first in results[0]]
    if any(first != second.dtype for first, second in zip(kinds, results[1], strict=True)):
        raise Unsupported("branch", "its branches return tensors of different types")
    graphs = [part.body([], [part.at(item) for item in made]) for part, made in zip(inner, results, strict=True)]
    count = len(kinds)
    made = canvas.emit("If", [canvas.at(condition)], then_branch=graphs[0], else_branch=graphs[1], outputs=count)
    values = [made] if count == 1 else made
    for value, kind in zip(values, kinds, strict=True):
        value.type = onnx_ir.TensorType(kind)
    return [canvas.result(value, shape) for value, shape in zip(values, shapes, strict=True)]


def merged(first: tuple[Dim, ...], second: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Dims that two shapes share; None where they differ. Raises Unsupported for different ranks."""
    if len(first) != len(second):
        raise Unsupported("rank", f"a value has {len(first)} axes on one way and {len(second)} on the other")
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))


def _boolean(canvas: Canvas, condition: Ordered) -> Ordered:
    import onnx_ir

    if condition.dtype == onnx_ir.DataType.BOOL:
        return condition
    value = canvas.emit("Cast", [canvas.at(condition)], to=int(onnx_ir.DataType.BOOL), dtype=onnx_ir.DataType.BOOL)
    return canvas.result(value, ())


def _tensor(value: Value) -> Ordered:
    if not isinstance(value, Ordered):
        raise Unsupported("branch", "a list of tensors or a variable goes through a branch")
    return value
