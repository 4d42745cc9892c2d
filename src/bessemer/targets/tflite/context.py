"""The lowering context: where every ONNX value stands in the TFLite graph, and how to ask for it.

A value stands in a tensor together with a permutation, `logical = transpose(tensor, perm)` (see
ir/layout.py).
A Transpose with constant perm only composes permutations; an operator that wants a value in some axis
order calls
`ctx.tensor(value, perm)` and a TRANSPOSE (or RESHAPE, when only axes of size one move) appears if, and
only if,
the tensor lies otherwise. Constants are transposed at compile time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import Encoding, encoding_of, weight_of
from bessemer.ir.layout import apply, compose, identity, inverse, is_identity, moves_data
from bessemer.ir.types import Array, Perm
from bessemer.passes.half import SMALL, fits_exactly
from bessemer.targets.tflite.builder import Dims, Module, Op, Subgraph, Tensor
from bessemer.targets.tflite.dtypes import NUMPY, array_type, tensor_type

if TYPE_CHECKING:
    import onnx_ir as ir

    from bessemer.ir.errors import Blocker
    from bessemer.targets.tflite.options import TFLiteOptions


class Blocked(Exception):  # a control signal from a lowering to the driver, never shown as such
    """This node cannot be lowered. `rule` is short and stable; `rewrite` the nearest legal form."""

    def __init__(self, rule: str, reason: str, rewrite: str = "") -> None:
        super().__init__(reason)
        self.rule, self.reason, self.rewrite = rule, reason, rewrite


@dataclass(frozen=True)
class Placed:
    """A tensor index and `logical = transpose(tensor, perm)`."""

    index: int
    perm: Perm


class Context:
    """Lowers one graph (the model or a body) into one subgraph."""

    def __init__(
        self, module: Module, options: TFLiteOptions, name: str, parent: Context | None = None
    ) -> None:
        self.module, self.options, self.parent = module, options, parent
        self.sub = Subgraph(name)
        module.subgraphs.append(self.sub)
        self.subgraph_index = len(module.subgraphs) - 1
        self.placed: dict[ir.Value, Placed] = {}
        self.done: set[ir.Node] = set()
        self.blockers: list[Blocker] = []
        self.integer = False
        """Whether the current node runs on integers: set by the driver, read by `tensor` and `out`."""
        self.floated: list[ir.Node] = []
        """Nodes between integers that computed in float."""
        self.steps: set[ir.Value] = set() if parent is None else parent.steps
        """Numbers of the steps of loops, which are never negative."""
        self.narrow: bool = False if parent is None else parent.narrow
        """Whether UINT8 encodings are written as INT8 (the newer kernels), zero points shifted by 128."""
        self.half: bool = False if parent is None else parent.half
        """Whether constants that lose nothing by it are stored as float16, as the source stores its weights."""
        self._moved: dict[tuple[int, Perm], int] = {}
        self._views: dict[tuple[str, int], int] = {}
        self._constants: dict[tuple[Any, ...], int] = {}
        self._pending: list[tuple[int, ir.Value, Perm]] = []

    # What is known of a value

    def shape(self, value: ir.Value) -> Dims:
        """Logical dims; None where unbound. Raises Blocked when not even the rank is known."""
        if value.shape is None:
            raise Blocked("unknown-rank", f"the rank of '{value.name}' is not known before the model runs")
        return tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in value.shape)

    def rank(self, value: ir.Value) -> int:
        """Number of axes."""
        return len(self.shape(value))

    def const(self, value: ir.Value | None) -> Array | None:
        """The constant's array (logical order, ONNX dtype), or None when the value is computed or absent."""
        if value is None or value.const_value is None:
            return None
        return np.asarray(value.const_value.numpy())

    def is_const(self, value: ir.Value | None) -> bool:
        """Whether the value is known at compile time, without loading it."""
        return value is not None and value.const_value is not None

    def type(self, value: ir.Value) -> str:
        """TensorType name of the value when it is not encoded (float16, bfloat16 and double are FLOAT32)."""
        return tensor_type(value)

    def encoding(self, value: ir.Value | None) -> Encoding | None:
        """The encoding as this file will hold it."""
        encoding = encoding_of(value)
        if encoding is None or not self.narrow or encoding.dtype != "UINT8":
            return encoding
        return shifted(encoding)

    def perm(self, value: ir.Value) -> Perm:
        """The axis order in which the value stands now."""
        return self._place(value).perm if not self.is_const(value) else identity(self.rank(value))

    def same_dims(self, a: ir.Value, b: ir.Value) -> bool:
        """Whether two values surely have the same shape (symbols compared by name)."""
        if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
            return False
        return all(
            x == y and (isinstance(x, int) or x.value is not None)
            for x, y in zip(a.shape, b.shape, strict=True)
        )

    # Tensors of values

    def tensor(self, value: ir.Value, perm: Perm | None = None) -> int:
        """Index of a tensor T with `value = transpose(T, perm)` (default: logical order).

        In integer mode the stored (quantized) tensor; otherwise a float view of it.
        """
        wanted = identity(self.rank(value)) if perm is None else perm
        if self.is_const(value):
            return self._constant_of(value, wanted)
        place = self._place(value)
        if len(place.perm) != len(wanted):
            raise Blocked(
                "contradictory-shape", f"'{value.name}' is declared with a rank that it does not have"
            )
        index = self.move(place.index, compose(place.perm, inverse(wanted)))
        return index if self.integer or self.encoding(value) is None else self.dequantized(index)

    def tensors(self, values: Sequence[ir.Value | None], perm: Perm | None = None) -> list[int]:
        """`tensor` of each; absent ones are -1."""
        return [-1 if value is None else self.tensor(value, perm) for value in values]

    def int32(self, value: ir.Value) -> int:
        """The value (an index, a shape, an axis) as an INT32 tensor in logical order."""
        array = self.const(value)
        if array is not None:
            return self.constant(np.clip(array, -(2**31), 2**31 - 1).astype(np.int32), value.name or "")
        return self.cast(self.tensor(value), "INT32")

    def out(self, value: ir.Value, perm: Perm | None = None) -> int:
        """A new tensor for the result `value`, physically so that `value = transpose(T, perm)`.

        Encoded values get their quantized tensor in integer mode; otherwise a float one that the driver
        quantizes after the lowering.
        """
        order = identity(self.rank(value)) if perm is None else perm
        encoding = self.encoding(value)
        shape = apply(inverse(order), self.shape(value))
        if encoding is None:
            index = self.sub.add(Tensor(value.name or "", self.type(value), shape))
            self.placed[value] = Placed(index, order)
            return index
        if self.integer:
            index = self._encoded(value, encoding, order)
            self.placed[value] = Placed(index, order)
            return index
        index = self.sub.add(Tensor(f"{value.name}/float", "FLOAT32", shape))
        self._pending.append((index, value, order))
        return index

    def alias(self, value: ir.Value, index: int, perm: Perm | None = None) -> None:
        """Let `value` stand in the existing tensor `index`; it is quantized first where `value` asks
        for that.
        """
        order = identity(self.rank(value)) if perm is None else perm
        encoding = self.encoding(value)
        tensor = self.sub.tensors[index]
        if encoding is not None and tensor.encoding is None:
            self._pending.append((index, value, order))
        elif encoding is not None and tensor.encoding != physical(encoding, order):
            target = self._encoded(value, encoding, order)
            self.emit("QUANTIZE", [index], [target])
            self.placed[value] = Placed(target, order)
        else:
            real = encoding is None and self.type(value) == "FLOAT32"
            self.placed[value] = Placed(self.dequantized(index) if real else index, order)

    def flush(self) -> None:
        """Quantize the float results of the node just lowered (driver only)."""
        for index, value, order in self._pending:
            encoding = self.encoding(value)
            if encoding is not None:
                target = self._encoded(value, encoding, order)
                self.emit("QUANTIZE", [index], [target])
                self.placed[value] = Placed(target, order)
        self._pending.clear()

    def forget(self, gone: Mapping[int, int]) -> None:
        """Values in tensors that are no longer computed stand in the given ones instead, or nowhere (-1)."""
        for value, place in list(self.placed.items()):
            index = gone.get(place.index, place.index)
            if index < 0:
                del self.placed[value]
            else:
                self.placed[value] = Placed(index, place.perm)

    # New tensors and operators

    def temp(self, type_: str, shape: Dims, name: str = "", encoding: Encoding | None = None) -> int:
        """A tensor for an intermediate result."""
        return self.sub.add(Tensor(name or "temp", type_, tuple(shape), encoding=encoding))

    def constant(self, array: Any, name: str = "const", *, type_: str | None = None) -> int:
        """A constant tensor of `array` as given (int64 stays int64; pass the dtype the kernel wants);
        equal ones are shared.
        """
        data = np.ascontiguousarray(array)
        data = data.reshape(np.shape(array))
        kind = type_ or array_type(data.dtype)
        key = ("literal", kind, data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self.sub.add(Tensor(name or "const", kind, data.shape, lambda: data))
        return self._constants[key]

    def emit(self, code: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> int:
        """Append an operator; `options` are fields of its options table. Returns the first output."""
        self.sub.ops.append(Op(code, list(inputs), list(outputs), options))
        return outputs[0] if outputs else -1

    def cast(self, index: int, type_: str) -> int:
        """The tensor converted to another type (itself when it has it); cached."""
        tensor = self.sub.tensors[index]
        if tensor.type == type_:
            return index
        if "UINT64" in (tensor.type, type_) or "STRING" in (tensor.type, type_):
            raise Blocked("type", f"LiteRT's CAST has no kernel from {tensor.type} to {type_}")
        key = (f"cast:{type_}", index)
        if key not in self._views:
            out = self.temp(type_, tensor.shape, f"{tensor.name}/{type_.lower()}")
            self._views[key] = self.emit("CAST", [index], [out])
        return self._views[key]

    def move(self, index: int, perm: Perm) -> int:
        """`transpose(tensor, perm)`, cached; a RESHAPE where no data moves, nothing where nothing moves."""
        if is_identity(perm):
            return index
        key = (index, perm)
        if key not in self._moved:
            self._moved[key] = self._transposed(index, perm)
        return self._moved[key]

    def reshape(self, index: int, shape: Dims, out: int | None = None, name: str = "") -> int:
        """RESHAPE to `shape`, which may hold one None. Raises Blocked when more sizes are unknown."""
        if sum(dim is None for dim in shape) > 1:
            raise Blocked(
                "dynamic-reshape",
                f"a reshape to {shape} has more than one size unknown until run time",
                "bind the dynamic dimensions with --shape",
            )
        source = self.sub.tensors[index]
        dims = np.array([-1 if dim is None else dim for dim in shape], np.int32)
        target = (
            self.temp(source.type, shape, name or f"{source.name}/reshape", source.encoding)
            if out is None
            else out
        )
        return self.emit("RESHAPE", [index, self.constant(dims, "shape")], [target], new_shape=dims.tolist())

    def dequantized(self, index: int) -> int:
        """A float view of a quantized tensor (itself when it is float); cached."""
        tensor = self.sub.tensors[index]
        if tensor.encoding is None:
            return index
        key = ("dequantize", index)
        if key not in self._views:
            out = self.temp("FLOAT32", tensor.shape, f"{tensor.name}/float")
            self._views[key] = self.emit("DEQUANTIZE", [index], [out])
        return self._views[key]

    def requantized(self, index: int, encoding: Encoding) -> int:
        """The tensor in another encoding of its own integer type (itself when it has it); cached."""
        tensor = self.sub.tensors[index]
        if tensor.encoding == encoding:
            return index
        key = (f"quantize:{encoding.dtype}:{float(encoding.scale)}:{int(encoding.zero_point)}", index)
        if key not in self._views:
            out = self.temp(encoding.dtype, tensor.shape, f"{tensor.name}/rescaled", encoding)
            self._views[key] = self.emit("QUANTIZE", [index], [out])
        return self._views[key]

    # Internals

    def _place(self, value: ir.Value) -> Placed:
        if value in self.placed:
            return self.placed[value]
        raise Blocked("outer-value", f"'{value.name}' is not available inside this graph")

    def _encoded(self, value: ir.Value, encoding: Encoding, order: Perm) -> int:
        if encoding.dtype not in ACTIVATIONS or not encoding.per_tensor:
            raise Blocked(
                "activation-encoding",
                f"LiteRT holds computed values as {', '.join(ACTIVATIONS)} with one scale, "
                f"not {encoding.dtype}{'' if encoding.per_tensor else ' per axis'} ('{value.name}')",
            )
        if encoding.dtype == "INT16" and encoding.zero_point.any():
            raise Blocked("activation-encoding", f"LiteRT's INT16 values have zero point 0 ('{value.name}')")
        shape = apply(inverse(order), self.shape(value))
        return self.sub.add(
            Tensor(value.name or "", encoding.dtype, shape, encoding=physical(encoding, order))
        )

    def _transposed(self, index: int, perm: Perm) -> int:
        tensor = self.sub.tensors[index]
        shape = apply(perm, tensor.shape)
        if tensor.data is None and not moves_data(perm, tensor.shape) and sum(d is None for d in shape) <= 1:
            return self.reshape(index, shape)
        if len(perm) > 6:
            raise Blocked("transpose-rank", f"TFLite transposes at most 6 axes, not {len(perm)}")
        encoding = tensor.encoding.permuted(perm) if tensor.encoding else None
        out = self.temp(tensor.type, shape, f"{tensor.name}/transpose", encoding)
        return self.emit("TRANSPOSE", [index, self.constant(np.array(perm, np.int32), "perm")], [out])

    def _constant_of(self, value: ir.Value, wanted: Perm) -> int:
        weight = weight_of(value)
        key = ("value", value, wanted, self.integer and weight is not None)
        if key not in self._constants:
            self._constants[key] = self._new_constant(value, wanted)
        return self._constants[key]

    def _new_constant(self, value: ir.Value, wanted: Perm) -> int:
        weight, order, name = weight_of(value), inverse(wanted), value.name or "const"
        if weight is not None and self.integer:
            held = weight.transposed(order)
            encoding = (
                shifted(held.encoding) if self.narrow and held.encoding.dtype == "UINT8" else held.encoding
            )
            offset = 128 if encoding is not held.encoding else 0
            data = _lazy(held.integers, offset)
            return self.sub.add(Tensor(name, encoding.dtype, held.integers.shape, data, encoding))
        if weight is not None and weight.encoding.dtype == "INT8" and not weight.encoding.block_size:
            held = weight.transposed(order)
            stored = Tensor(name, "INT8", held.integers.shape, _lazy(held.integers, 0), held.encoding)
            return self.dequantized(self.sub.add(stored))
        return self._plain_constant(value, order, name)

    def _plain_constant(self, value: ir.Value, order: Perm, name: str) -> int:
        kind, held = self.type(value), held_by(value)
        shape = apply(order, tuple(int(dim) for dim in held.shape))

        if held.dtype.name == "DOUBLE":
            refuse_beyond_float32(value, np.asarray(held.numpy()))

        def data() -> Array:
            return np.ascontiguousarray(
                np.asarray(held.numpy()).astype(NUMPY[kind], copy=False).transpose(order)
            )

        half_already = held.dtype.name == "FLOAT16" and held.size >= SMALL
        half_already = half_already or (self.half and kind == "FLOAT32" and fits_exactly(held))
        if half_already or (kind == "FLOAT32" and self.options.precision == "float16" and fits_half(held)):
            half = self.sub.add(
                Tensor(f"{name}/float16", "FLOAT16", shape, lambda: data().astype(np.float16))
            )
            out = self.sub.add(Tensor(name, "FLOAT32", shape))
            return self.emit("DEQUANTIZE", [half], [out])
        return self.sub.add(Tensor(name, kind, shape, data))


ACTIVATIONS = ("INT8", "UINT8", "INT16")


def held_by(value: ir.Value) -> Any:
    """The tensor behind a constant value."""
    if value.const_value is None:
        raise Blocked("no-constant", f"'{value.name}' is not a constant")
    return value.const_value


def fits_half(held: Any) -> bool:
    """Whether a constant is worth storing in half precision and has no value beyond its range."""
    if held.size < SMALL:
        return False
    array = np.abs(np.asarray(held.numpy()).astype(np.float32, copy=False))
    return bool(np.nanmax(np.where(np.isinf(array), 0, array), initial=0.0) <= 65504)


def physical(encoding: Encoding, order: Perm) -> Encoding:
    """The encoding of the tensor T with `value = transpose(T, order)`."""
    return encoding.permuted(inverse(order))


def shifted(encoding: Encoding) -> Encoding:
    """A UINT8 encoding as the INT8 one with the same real values."""
    zero = (encoding.zero_point.astype(np.int32) - 128).astype(np.int8)
    return Encoding("INT8", encoding.scale, zero, encoding.axis, encoding.block_size)


def _lazy(integers: Array, offset: int) -> Callable[[], Array]:
    if not offset:
        return lambda: np.ascontiguousarray(integers)
    return lambda: np.ascontiguousarray((integers.astype(np.int16) - offset).astype(np.int8))


def refuse_beyond_float32(value: ir.Value, held: Array) -> None:
    """Raises Blocked for a double that float32 could only call infinite."""
    if np.any(np.abs(held[np.isfinite(held)]) > np.finfo(np.float32).max):
        raise Blocked("range", f"'{value.name}' holds numbers beyond float32, which is all that LiteRT computes in")
