"""TFLite tensors as arrays, lazy tensors and encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight
from bessemer.ir.types import Array, Perm
from bessemer.sources.tflite.sparse import densify
from bessemer.wire.tflite.schema import TensorType

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.wire.tflite.records import Model, SubGraph, Tensor

NUMPY: dict[int, str] = {
    TensorType.FLOAT32: "float32", TensorType.FLOAT16: "float16", TensorType.FLOAT64: "float64",
    TensorType.INT8: "int8", TensorType.UINT8: "uint8", TensorType.INT16: "int16", TensorType.UINT16: "uint16",
    TensorType.INT32: "int32", TensorType.UINT32: "uint32", TensorType.INT64: "int64", TensorType.UINT64: "uint64",
    TensorType.BOOL: "bool", TensorType.COMPLEX64: "complex64", TensorType.COMPLEX128: "complex128",
    TensorType.INT4: "int4", TensorType.BFLOAT16: "bfloat16",
}  # fmt: skip

QUANTIZED: dict[int, str] = {
    TensorType.INT8: "INT8", TensorType.UINT8: "UINT8", TensorType.INT16: "INT16", TensorType.INT32: "INT32",
    TensorType.INT4: "INT4",
}  # fmt: skip


def dtype_of(record: Tensor) -> Any:
    """The ONNX type of a tensor's own elements."""
    import onnx_ir

    if record.type == TensorType.STRING:
        return onnx_ir.DataType.STRING
    from bessemer.ir.types import named_dtype

    return onnx_ir.DataType.from_numpy(named_dtype(NUMPY[record.type]))


def is_quantized(record: Tensor) -> bool:
    """Whether integers stand for reals."""
    held = record.quantization
    return held is not None and bool(held.scale) and record.type in QUANTIZED


def is_wide_sum(record: Tensor) -> bool:
    """A bias of 64 bits beside 16-bit activations: ONNX has no such encoding, so it is read as reals."""
    held = record.quantization
    return record.type == TensorType.INT64 and held is not None and bool(held.scale)


def _reals(record: Tensor, raw: Array) -> Array:
    scale = np.array(record.quantization.scale if record.quantization else (1.0,), np.float64)
    return np.asarray(raw * scale, np.float32)


def encoding_for(record: Tensor) -> Encoding | None:
    """The tensor's encoding in its own axis order; None for plain tensors."""
    held = record.quantization
    if held is None or not is_quantized(record):
        return None
    dtype = NUMPY[record.type]
    kind = "int8" if dtype == "int4" else dtype
    scale = np.array(held.scale, np.float32)
    zero = np.array(held.zero_point if held.zero_point else [0], np.int64).astype(kind)
    zero = np.broadcast_to(zero, scale.shape) if zero.size == 1 else zero
    if scale.size == 1:
        return Encoding(QUANTIZED[record.type], scale.reshape(()), zero.reshape(()).copy())
    return Encoding(QUANTIZED[record.type], scale, zero.copy(), axis=held.quantized_dimension)


class Constants:
    """The constant tensors of a file; bytes stay in the mapped file until somebody computes with them."""

    def __init__(self, file: Model) -> None:
        self._file = file
        self._dense: dict[tuple[int, int], Array] = {}
        self._aliases: dict[tuple[int, int], int] = {}
        self.half = False
        """Whether float16 constants were read as wider ones."""

    def raw(self, subgraph: SubGraph, index: int) -> Array | None:
        """The stored elements in the tensor's own shape (int4 unpacked to int8); None for activations."""
        record = subgraph.tensors[index]
        alias = self._aliases.get((id(subgraph), index))
        if alias is not None:
            held = self.raw(subgraph, alias)
            return None if held is None else held.astype(NUMPY[record.type], copy=False)
        buffer = self._file.buffers[record.buffer] if record.buffer < len(self._file.buffers) else None
        empty = buffer is None or buffer.nbytes == 0
        if record.is_variable or (empty and (record.buffer == 0 or 0 not in record.shape)):
            return None
        if record.type == TensorType.STRING:
            return _strings(bytes(buffer.view()) if buffer else b"", record.shape)
        if record.sparsity is not None:
            key = (id(subgraph), index)
            if key not in self._dense:
                self._dense[key] = densify(record, self._elements(record, buffer))
            return self._dense[key]
        elements = self._elements(record, buffer)
        count = int(np.prod(record.shape, dtype=np.int64))
        return elements[:count].reshape(record.shape) if elements.size >= count else None

    def widen(self, subgraph: SubGraph, source: int, result: int) -> None:
        """Make tensor `result` the constant `source` in its own type; converted when somebody reads it."""
        self.half = self.half or subgraph.tensors[source].type == TensorType.FLOAT16
        self._aliases[id(subgraph), result] = source

    def _elements(self, record: Tensor, buffer: Any) -> Array:
        data = buffer.view() if buffer is not None else memoryview(b"")
        if record.type == TensorType.INT4:
            packed = np.frombuffer(data, np.uint8)
            pairs = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1).astype(np.int8)
            return np.where(pairs > 7, pairs - 16, pairs).astype(np.int8)
        if record.type == TensorType.BFLOAT16:
            import ml_dtypes

            return _whole(data, np.dtype(ml_dtypes.bfloat16))
        return _whole(data, np.dtype(NUMPY[record.type]))

    def array(self, subgraph: SubGraph, index: int) -> Array | None:
        """Real values (dequantized), in the tensor's own order."""
        if index < 0:
            return None
        raw = self.raw(subgraph, index)
        record = subgraph.tensors[index]
        if raw is not None and is_wide_sum(record):
            return _reals(record, raw)
        encoding = encoding_for(record)
        return raw if raw is None or encoding is None else encoding.dequantize(raw)

    def weight(self, subgraph: SubGraph, index: int) -> QuantizedWeight | None:
        """The integers of a quantized constant."""
        encoding = encoding_for(subgraph.tensors[index])
        raw = self.raw(subgraph, index) if encoding is not None else None
        return None if raw is None or encoding is None else QuantizedWeight(raw, encoding)

    def tensor(self, subgraph: SubGraph, index: int, perm: Perm) -> onnx_ir.TensorProtocol | None:
        """A plain constant in axis order `perm`; transposed only when somebody reads it."""
        import onnx_ir

        if (id(subgraph), index) in self._aliases:
            return self._widened(subgraph, index, perm)
        raw = self.raw(subgraph, index)
        if raw is None:
            return None
        if is_wide_sum(subgraph.tensors[index]):
            raw = _reals(subgraph.tensors[index], raw)
        if perm == tuple(range(raw.ndim)):
            return onnx_ir.tensor(raw)
        view = raw.transpose(perm)
        return onnx_ir.LazyTensor(
            lambda: onnx_ir.tensor(np.ascontiguousarray(view)),
            dtype=onnx_ir.DataType.from_numpy(raw.dtype),
            shape=onnx_ir.Shape(view.shape),
        )

    def _widened(self, subgraph: SubGraph, index: int, perm: Perm) -> onnx_ir.TensorProtocol:
        """float16 in the file, float32 in the graph: the wide copy lives only while it is read."""
        import onnx_ir

        record = subgraph.tensors[index]

        def make() -> Any:
            raw = self.raw(subgraph, index)
            return onnx_ir.tensor(np.ascontiguousarray(np.asarray(raw).transpose(perm)))

        shape = [record.shape[axis] for axis in perm]
        return onnx_ir.LazyTensor(make, dtype=dtype_of(record), shape=onnx_ir.Shape(shape))


def _whole(data: memoryview, dtype: np.dtype[Any]) -> Array:
    """The elements of a buffer; a rest that is no whole one is nobody's."""
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)


def _strings(data: bytes, shape: tuple[int, ...]) -> Array | None:
    """TFLite's string tensors: a count, offsets, then bytes."""
    if len(data) < 4:
        return None
    count = int.from_bytes(data[:4], "little")
    if 4 * (count + 2) > len(data):
        return None
    ends = np.frombuffer(data, np.int32, count + 1, 4)
    items = [data[ends[i] : ends[i + 1]] for i in range(count)]
    return np.array(items, object).reshape(shape) if count == int(np.prod(shape, dtype=np.int64)) else None
