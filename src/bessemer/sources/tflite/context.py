"""What an operator's reader works with: tensors as values in any axis order, and a graph that grows.

Every TFLite tensor is known as one canonical value and the permutation between them (`ir.layout`): convolutions
register their results channels-first, elementwise operators pass an order along, reshapes ask for the
tensor's own order. A Transpose is made only when an order is asked for that nobody made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bessemer.ir.encoding import QuantizedWeight, set_encoding, set_weight
from bessemer.ir.layout import apply, compose, identity, inverse, is_identity, moves_data
from bessemer.ir.types import Array, Perm
from bessemer.sources.drawing import TENSOR_KEY, Drawing, Unsupported
from bessemer.sources.tflite.tensors import Constants, dtype_of, encoding_for, is_quantized

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Model, Operator, SubGraph, Tensor


class Context(Drawing):
    """One subgraph being read.

    handles: which variable a resource tensor means; resources: what they hold (`ops.resources`).
    states: variable tensors that a recurrent layer keeps (`ops.recurrent`).
    """

    def __init__(self, file: Model, subgraph: SubGraph, constants: Constants, notes: list[str]) -> None:
        super().__init__(notes)
        self.file, self.subgraph, self.constants = file, subgraph, constants
        self.outputs: list[onnx_ir.Value] = []
        self.handles: dict[int, tuple[Any, ...]] = {}
        self.resources: dict[tuple[Any, ...], Any] = {}
        self.states: set[int] = set()
        self._orders: dict[int, dict[Perm, onnx_ir.Value]] = {}
        self._made: dict[int, Perm] = {}

    # -- facts about tensors -------------------------------------------------------------------------------------

    def tensor(self, index: int) -> Tensor:
        """The record."""
        return self.subgraph.tensors[index]

    def name(self, index: int) -> str:
        """Its name in the file, or its number."""
        return self.tensor(index).name or f"tensor_{index}"

    def shape(self, index: int) -> tuple[int | None, ...]:
        """Dims in the tensor's own order; None where the signature is dynamic."""
        record = self.tensor(index)
        signature = record.shape_signature or record.shape
        dynamic = len(signature) == len(record.shape)
        return tuple(None if dynamic and signature[i] < 0 else dim for i, dim in enumerate(record.shape))

    def rank(self, index: int) -> int:
        """Number of axes."""
        return len(self.tensor(index).shape)

    def static(self, index: int) -> tuple[int, ...]:
        """Dims, all bound; raises Unsupported where one is dynamic."""
        dims = self.shape(index)
        if any(dim is None for dim in dims):
            raise Unsupported("dynamic-shape", f"tensor '{self.name(index)}' has unbound dims {dims}")
        return tuple(dim for dim in dims if dim is not None)

    def known(self, index: int) -> Array | None:
        """The array of a constant tensor (real values), in its own order; None for activations."""
        return self.constants.array(self.subgraph, index)

    def integers(self, index: int) -> list[int]:
        """A constant integer tensor as a flat list; raises Unsupported when it is computed."""
        array = self.known(index)
        if array is None:
            raise Unsupported("constant-operand", f"operand '{self.name(index)}' must be constant")
        return [int(item) for item in array.reshape(-1)]

    # -- values --------------------------------------------------------------------------------------------------

    def order(self, index: int) -> Perm:
        """The order in which a tensor was made; constants have their own."""
        return self._made.get(index, identity(self.rank(index)))

    def made(self, index: int) -> bool:
        """Whether something makes the tensor, or it is an input."""
        return index in self._made

    def value(self, index: int, perm: Perm | None = None) -> onnx_ir.Value:
        """The tensor as a value in the axis order `perm` (None: its own)."""
        wanted = identity(self.rank(index)) if perm is None else perm
        orders = self._orders.setdefault(index, {})
        if wanted in orders:
            return orders[wanted]
        if index not in self._made:
            made = self._constant(index, wanted)
        else:
            step = compose(inverse(self._made[index]), wanted)
            source = orders[self._made[index]]
            made = self.emit("Transpose", [source], perm=list(step), shape=apply(wanted, self.shape(index)))
            set_encoding(made, self._encoding(index, wanted))
        orders[wanted] = made
        return made

    def optional(self, inputs: Sequence[int], place: int, perm: Perm | None = None) -> onnx_ir.Value | None:
        """Operand `place`, or None when it is left out."""
        return self.value(inputs[place], perm) if place < len(inputs) and inputs[place] >= 0 else None

    def contiguous(self, index: int) -> onnx_ir.Value:
        """A value whose elements stand in the tensor's own order, whatever its axes are called."""
        perm = self.order(index)
        if index in self._made and not moves_data(perm, self.tensor(index).shape):
            return self._orders[index][perm]
        return self.value(index)

    def _encoding(self, index: int, perm: Perm) -> Any:
        encoding = encoding_for(self.tensor(index))
        return None if encoding is None else encoding.permuted(perm)

    def _constant(self, index: int, perm: Perm) -> onnx_ir.Value:
        import onnx_ir

        record = self.tensor(index)
        suffix = "" if is_identity(perm) else "_" + "".join(map(str, perm))
        held = self.constants.weight(self.subgraph, index)
        shape = apply(perm, self.static(index))
        value = onnx_ir.Value(name=self.unique(self.name(index) + suffix), shape=onnx_ir.Shape(shape))
        if held is not None:
            set_weight(value, held.transposed(perm))
            value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        else:
            plain = self.constants.tensor(self.subgraph, index, perm)
            if plain is None:
                raise Unsupported("no-value", f"tensor '{record.name}' is read before anything makes it")
            value.const_value, value.type = plain, onnx_ir.TensorType(plain.dtype)
        self.initializers.append(value)
        return value

    def result(self, index: int, value: onnx_ir.Value, perm: Perm | None = None) -> None:
        """Say that `value` is tensor `index` in axis order `perm`: named, typed, shaped and encoded as the file says."""
        import onnx_ir

        order = identity(self.rank(index)) if perm is None else perm
        taken = value.is_initializer() or value.is_graph_input() or value.producer() is None
        if taken or TENSOR_KEY in value.meta:
            value = self.emit("Identity", [value])
        value.name = self.unique(self.name(index))
        value.meta[TENSOR_KEY] = (self.name(index), order)
        if is_quantized(self.tensor(index)):
            value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        else:
            value.type = onnx_ir.TensorType(dtype_of(self.tensor(index)))
        value.shape = onnx_ir.Shape(list(apply(order, self.shape(index))))
        set_encoding(value, self._encoding(index, order))
        self.register(index, value, order)

    def register(self, index: int, value: onnx_ir.Value, perm: Perm) -> None:
        """Only remember where the tensor is."""
        self._orders[index] = {perm: value}
        self._made[index] = perm


def product(dims: Sequence[int]) -> int:
    """Number of elements."""
    return math.prod(dims)


def options(operator: Operator) -> dict[str, Any]:
    """The operator's option fields; empty when the file left them out."""
    held = operator.builtin_options or operator.builtin_options2
    return held.fields if held is not None else {}


__all__ = ["TENSOR_KEY", "Context", "QuantizedWeight", "Unsupported", "options", "product"]
