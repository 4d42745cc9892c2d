"""Weights keep the type that they are stored in: float16 or bfloat16 constants behind a Cast to float32.

The hub computes with float32 and reads such constants wide, one at a time, when somebody asks. That the source had
some is noted on the graph; a target then stores every constant in that type that loses nothing by it. What a fold or a
fusion changed is as wide as it has become.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import HALF_KEY
from bessemer.ir.encoding import encoding_of
from bessemer.passes.rewrite import hold_constant

if TYPE_CHECKING:
    import onnx_ir

KINDS = ("FLOAT16", "BFLOAT16")

SMALL = 64
"""Constants of fewer elements stay float32: halving them saves less than the Cast takes."""

CHUNK = 1 << 20
"""Elements looked at together."""


def note_half(graph: onnx_ir.Graph, kind: str = "FLOAT16") -> None:
    """The source stores weights as float16 or bfloat16."""
    graph.meta[HALF_KEY] = kind


def half_kind(graph: onnx_ir.Graph) -> str:
    """'float16' or 'bfloat16' where it did; else empty."""
    return str(graph.meta.get(HALF_KEY, "")).lower()


def fits_exactly(tensor: onnx_ir.TensorProtocol, kind: str = "FLOAT16") -> bool:
    """Whether a float32 constant worth it comes back from the narrow type as it was, to the bit."""
    if tensor.dtype.name != "FLOAT" or tensor.size < SMALL:
        return False
    bits = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint32)
    fits = _round_trip if kind == "FLOAT16" else _upper_half
    return all(fits(bits[start : start + CHUNK]) for start in range(0, bits.size, CHUNK))


def _upper_half(bits: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> bool:
    """bfloat16 is the upper half of a float32."""
    return not (bits & 0xFFFF).any()


def _round_trip(bits: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        back = bits.view(np.float32).astype(np.float16).astype(np.float32)
    return bool(np.array_equal(back.view(np.uint32), bits))


def widened(value: onnx_ir.Value) -> onnx_ir.TensorProtocol | None:
    """A float16 or bfloat16 constant as float32, made when it is read; None for other values."""
    import onnx_ir

    held = value.const_value
    if held is None or held.dtype.name not in KINDS or held.size < SMALL or value.is_graph_input():
        return None
    return onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(held.numpy().astype(np.float32)),
        dtype=onnx_ir.DataType.FLOAT,
        shape=onnx_ir.Shape(held.shape.numpy()),
        cache=False,
    )


def store_half(graph: onnx_ir.Graph, kind: str) -> int:
    """Float32 constants that fit become narrow ones with a Cast, which runtimes fold when they load; how many."""
    kind = kind.upper()
    found = [
        value
        for value in list(graph.initializers.values())
        if value.const_value is not None
        and encoding_of(value) is None
        and not value.is_graph_input()
        and not value.is_graph_output()
        and fits_exactly(value.const_value, kind)
    ]
    for value in found:
        _store(graph, value, kind)
    return len(found)


def _store(graph: onnx_ir.Graph, value: onnx_ir.Value, kind: str) -> None:
    import ml_dtypes
    import onnx_ir

    wide, name = value.const_value, value.name or "weights"
    if wide is None:
        return
    narrow = np.float16 if kind == "FLOAT16" else ml_dtypes.bfloat16
    half = onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(wide.numpy().astype(narrow)),
        dtype=onnx_ir.DataType[kind],
        shape=onnx_ir.Shape(wide.shape.numpy()),
        cache=False,
    )
    held = hold_constant(graph, half, f"{name}_{kind.lower()}")
    node = onnx_ir.node("Cast", [held], {"to": int(onnx_ir.DataType.FLOAT)}, name=f"{name}_widen")
    result = node.outputs[0]
    result.type, result.shape = value.type, value.shape
    first = next(iter(graph), None)
    graph.append(node) if first is None else graph.insert_before(first, node)
    value.replace_all_uses_with(result)
    del graph.initializers[name]
    value.name, result.name = None, name
