"""Activations in UINT8 instead of INT8: the same numbers, 128 steps higher.

ONNX Runtime's x86 kernels multiply unsigned by signed bytes. Its own optimiser moves INT8 activations there one pair at a
time, where a value has one reader; around the others an operator then stands between two types and stays float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, set_encoding, set_weight, weight_of
from bessemer.passes.base import PassResult

if TYPE_CHECKING:
    import onnx_ir

WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose second input stays signed."""


@dataclass(frozen=True)
class UnsignedActivations:
    """Before: INT8 encodings with one scale. After: UINT8 ones of the same real values; weights of products stay."""

    name: ClassVar[str] = "unsigned-activations"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place. What an integer border or a Q/DQ node of the source states as INT8 stays."""
        changed = 0
        for part in graph.graphs():
            for node in part:
                changed += sum(_shift(value) for value in node.outputs if node.op_type != "DequantizeLinear")
            changed += sum(_shift(value) for value in part.inputs)
            changed += sum(_shift_constant(value) for value in list(part.initializers.values()))
        return PassResult(changed)


def shifted(encoding: Encoding | None) -> Encoding | None:
    """The UINT8 encoding of the same real values; None for what is not INT8 with one scale."""
    if encoding is None or encoding.dtype != "INT8" or not encoding.per_tensor:
        return None
    return replace(encoding, dtype="UINT8", zero_point=(encoding.zero_point.astype(np.int16) + 128).astype(np.uint8))


def _shift(value: onnx_ir.Value) -> bool:
    encoding = shifted(encoding_of(value))
    if encoding is None or any(user.op_type == "QuantizeLinear" for user in value.consumers()):
        return False
    set_encoding(value, encoding)
    return True


def _shift_constant(value: onnx_ir.Value) -> bool:
    """An operand held in the activations' integers; the weight of a product is none."""
    held = weight_of(value)
    encoding = shifted(encoding_of(value))
    if held is None or encoding is None or any(_weighs(use.node, use.idx) for use in value.uses()):
        return False
    integers = (held.integers.astype(np.int16) + 128).astype(np.uint8)
    set_weight(value, QuantizedWeight(integers, encoding))
    return True


def _weighs(node: onnx_ir.Node, place: int) -> bool:
    return node.op_type in WEIGHED and place == 1
