"""Products with weights in blocks become ONNX Runtime's `com.microsoft.MatMulNBits`.

The operator (ContribOperators.md of ONNX Runtime): Y = A dequantize(B)^T, B as (N, blocks, bytes of a block) with
the first code in the low bits, scales (N, blocks), zero points packed along the blocks, 2^(bits - 1) when absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bessemer.ir.encoding import QuantizedWeight, encoding_of, weight_of
from bessemer.ir.model import layer_of, tag
from bessemer.ir.numbers import BITS
from bessemer.ir.types import Array
from bessemer.passes.base import PassResult
from bessemer.passes.rewrite import is_constant, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir

CODED = ("INT4", "UINT4", "INT8", "UINT8")


@dataclass(frozen=True)
class Packed:
    """Constants of one node: codes, scales, zero points (None: the middle)."""

    codes: Array
    scales: Array
    zeros: Array | None


@dataclass(frozen=True)
class MatMulNBits:
    """Before: products whose weight holds blocks along the summed axis. After: they are MatMulNBits nodes.

    accuracy_level: what the kernel may compute in (0: as A, 1: float32, 2: float16, 3: bfloat16, 4: int8).
    """

    accuracy_level: int = 0
    name: ClassVar[str] = "matmul-nbits"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place; a product of another form keeps its weight as it was."""
        made: dict[int, list[onnx_ir.Value | None]] = {}
        count = 0
        for node in list(graph.graph.all_nodes()):
            weight = _weight(node)
            if weight is not None:
                self._replace(node, weight, made)
                count += 1
        return PassResult(count)

    def _replace(
        self, node: onnx_ir.Node, weight: QuantizedWeight, made: dict[int, list[onnx_ir.Value | None]]
    ) -> None:
        import onnx_ir

        graph, value = owner(node), node.inputs[1]
        if id(weight) not in made:
            made[id(weight)] = _constants(graph, weight, _turned(node), (value.name if value is not None else "") or "")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        inputs = [node.inputs[0], *made[id(weight)], None, bias]
        while inputs[-1] is None:
            inputs.pop()
        bits = BITS[weight.encoding.dtype]
        rows = weight.integers.shape if _turned(node) else weight.integers.shape[::-1]
        attributes = {
            "N": rows[0], "K": rows[1], "bits": bits, "block_size": weight.encoding.block_size,
            "accuracy_level": self.accuracy_level,
        }  # fmt: skip
        new = onnx_ir.node("MatMulNBits", inputs, attributes, domain="com.microsoft", name=node.name)
        tag(new, *layer_of(node).split(";"))
        graph.insert_before(node, new)
        _take_over(node.outputs[0], new.outputs[0])
        graph.remove(node, safe=True)
        if value is not None and not value.uses():
            graph.initializers.pop(value.name or "", None)


def _take_over(old: onnx_ir.Value, new: onnx_ir.Value) -> None:
    from bessemer.ir.encoding import set_encoding

    new.type, new.shape, name = old.type, old.shape, old.name
    set_encoding(new, encoding_of(old))
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = None, name


def _turned(node: onnx_ir.Node) -> bool:
    return node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))


def _weight(node: onnx_ir.Node) -> QuantizedWeight | None:
    """The weight of a product that the kernel can compute."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = weight_of(node.inputs[1])
    if weight is None or weight.integers.ndim != 2 or not _plain(node, weight):
        return None
    encoding = weight.encoding
    block = encoding.block_size
    fits = block >= 16 and block & (block - 1) == 0 and encoding.axis == int(_turned(node))
    return weight if fits and encoding.dtype in CODED else None


def _plain(node: onnx_ir.Node, weight: QuantizedWeight) -> bool:
    """A Gemm is x W + b with a bias for each output."""
    if node.op_type == "MatMul":
        return True
    attributes = node.attributes
    if attributes.get_int("transA", 0) or attributes.get_float("alpha", 1.0) != 1 or attributes.get_float("beta", 1.0) != 1:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    outputs = weight.integers.shape[0 if _turned(node) else 1]
    return bias is None or (is_constant(bias) and bias.shape is not None and tuple(bias.shape.numpy()) == (outputs,))


def _constants(graph: onnx_ir.Graph, weight: QuantizedWeight, turned: bool, name: str) -> list[onnx_ir.Value | None]:
    packed = pack(weight, turned)
    zeros = None if packed.zeros is None else make_constant(graph, packed.zeros, f"{name}_zero_points")
    return [
        make_constant(graph, packed.codes, f"{name}_codes"),
        make_constant(graph, packed.scales, f"{name}_scales"),
        zeros,
    ]


def pack(weight: QuantizedWeight, turned: bool) -> Packed:
    """Constants of the node for a weight of shape (K, N), or (N, K) when `turned`."""
    encoding = weight.encoding
    bits, block = BITS[encoding.dtype], encoding.block_size
    middle = 0 if encoding.dtype.startswith("U") else 2 ** (bits - 1)
    codes, scales, zeros = (
        array if turned else array.T for array in (weight.integers, encoding.scale, encoding.zero_point)
    )
    blocks = scales.shape[1]
    shifted = np.full((codes.shape[0], blocks * block), 2 ** (bits - 1), np.uint8)
    np.add(codes, middle, out=shifted[:, : codes.shape[1]], casting="unsafe", dtype=np.int16)
    unsigned = (zeros.astype(np.int16) + middle).astype(np.uint8)
    return Packed(
        nibbles(shifted, bits).reshape(codes.shape[0], blocks, block * bits // 8),
        np.ascontiguousarray(scales.astype(np.float32)),
        None if np.all(unsigned == 2 ** (bits - 1)) else nibbles(unsigned, bits),
    )


def nibbles(codes: Array, bits: int) -> Array:
    """Rows of codes, two per byte where they have 4 bits: the first in the low half, a last odd one alone."""
    if bits == 8:
        return np.ascontiguousarray(codes)
    if codes.shape[1] % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    return np.asarray(codes[:, 0::2] | (codes[:, 1::2] << 4), np.uint8)
