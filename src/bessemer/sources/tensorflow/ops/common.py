"""Shared by the families: attributes with their defaults, constant operands, complex pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.sources.channels_last.signal import Complex, parts
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.registry import Reader

FREEZE = "make it constant in the model, or freeze the graph"


def kind_of(node: Node, name: str, default: Any = np.float32) -> Any:
    """An attribute that names a type, as `onnx_ir.DataType`."""
    import onnx_ir

    return onnx_ir.DataType.from_numpy(np.dtype(node.attrs.get(name, default)))


def first(node: Node) -> bool:
    """Whether channels stand behind the batch (NCHW). Raises Unsupported for layouts that are packed."""
    held = str(node.attrs.get("data_format", "NHWC"))
    if held in ("NHWC", "NDHWC", "NWC"):
        return False
    if held in ("NCHW", "NCDHW", "NCW"):
        return True
    raise Unsupported("data-format", f"the layout {held} packs channels for one kind of hardware", "use NHWC")


def constant(tensor: Ordered, what: str) -> Array:
    """The elements of an operand that must be known; raises Unsupported where it is computed."""
    if tensor.known is None:
        raise Unsupported("constant-operand", f"its {what} '{tensor.name}' is computed while the model runs", FREEZE)
    return tensor.known


def ints(tensor: Ordered, what: str) -> list[int]:
    """A constant integer operand as a flat list."""
    return [int(item) for item in constant(tensor, what).reshape(-1)]


def integer(tensor: Ordered, what: str) -> int:
    """A constant operand that is one integer."""
    held = ints(tensor, what)
    if len(held) != 1:
        raise Unsupported("operand", f"its {what} '{tensor.name}' holds {len(held)} numbers, not one")
    return held[0]


def real(tensor: Ordered, what: str) -> float:
    """A constant operand that is one number."""
    held = constant(tensor, what).reshape(-1)
    if held.size != 1:
        raise Unsupported("operand", f"its {what} '{tensor.name}' holds {held.size} numbers, not one")
    return float(held[0])


def bound(tensor: Ordered, axis: int) -> int:
    """The size of one axis; raises Unsupported where it is known only when the model runs."""
    size = tensor.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", f"axis {axis} of '{tensor.name}' is unbound", "bind the input's shape")
    return size


def is_complex(tensor: Ordered) -> bool:
    """Whether the elements are complex numbers."""
    import onnx_ir

    return tensor.dtype in (onnx_ir.DataType.COMPLEX64, onnx_ir.DataType.COMPLEX128)


def is_real(tensor: Ordered) -> bool:
    """Whether the elements are floating-point numbers."""
    return tensor.dtype is not None and tensor.dtype.is_floating_point()


def on_parts(read: Reader) -> Reader:
    """The reader of an operator that moves data: complex operands are moved part by part."""

    @wraps(read)
    def both(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered | Sequence[Ordered]:
        if not any(is_complex(tensor) for tensor in inputs):
            return read(canvas, node, inputs)
        pairs = [parts(canvas, held) if is_complex(held) else (held, held) for held in inputs]
        real, imag = (read(canvas, node, [pair[place] for pair in pairs]) for place in (0, 1))
        if isinstance(real, Ordered) and isinstance(imag, Ordered):
            return Complex(real, imag)
        assert not isinstance(real, Ordered) and not isinstance(imag, Ordered)
        return [Complex(*pair) for pair in zip(real, imag, strict=True)]

    return both
