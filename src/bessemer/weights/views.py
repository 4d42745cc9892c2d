"""Views of lazy tensors that stay lazy: slices, orders and unions of rows work on stored bytes, whatever their type is.

What needs the values (`mapped`) or crosses rows (`transposed`) says so; everything else holds no more than the rows that are
asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod
from threading import Lock

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.wire.gguf.types import BY_NAME

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

OTHER_WIDTHS = {
    "U8": 1, "U16": 2, "U32": 4, "U64": 8, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip
"""Bytes of an element of types that ggml has not."""
NUMPY = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "C64": "complex64",
}  # fmt: skip
"""Plain types and their names in numpy or ml_dtypes."""
FLOATING = ("F32", "F16", "BF16", "F64")
_NAMES = {kind: name for name, kind in NUMPY.items()}


def row_bytes(kind: str, columns: int) -> int:
    """Bytes of a row. Raises ValueError for blocks that do not fill it."""
    return OTHER_WIDTHS[kind] * columns if kind in OTHER_WIDTHS else BY_NAME[kind].row_bytes(columns)


def is_plain(kind: str) -> bool:
    """Whether each element stands by itself."""
    return kind in OTHER_WIDTHS or BY_NAME[kind].plain


def numpy_type(kind: str) -> np.dtype[np.generic]:
    """Of a plain type. Raises KeyError for blocks."""
    import ml_dtypes

    name = NUMPY[kind]
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def renamed(tensor: Lazy, name: str) -> Lazy:
    """The same under another name."""
    return replace(tensor, name=name)


def row_slice(tensor: Lazy, start: int, stop: int, shape: Sequence[int]) -> Lazy:
    """Rows `start` to `stop`, as `shape`."""
    return _checked(replace(tensor, shape=tuple(shape), read=lambda a, b: tensor.read(start + a, start + b)), stop - start)


def row_gather(tensor: Lazy, index: Index | Callable[[int, int], Index], shape: Sequence[int]) -> Lazy:
    """Row i of the result is row index[i]; `index` may be a function (first, after last) -> rows."""

    def read(start: int, stop: int) -> Bytes:
        wanted = index(start, stop) if callable(index) else index[start:stop]
        return _gathered(tensor, wanted)

    return _checked(replace(tensor, shape=tuple(shape), read=read), prod(shape[:-1]))


def _gathered(tensor: Lazy, wanted: Index) -> Bytes:
    if not len(wanted):
        return np.empty((0, tensor.row_bytes), np.uint8)
    low, high = int(wanted.min()), int(wanted.max()) + 1
    if high - low <= 4 * len(wanted) + 1024:  # reading what lies between costs less than many small reads
        return tensor.read(low, high)[wanted - low]
    return np.concatenate([tensor.read(int(row), int(row) + 1) for row in wanted])


def row_concat(name: str, tensors: Sequence[Lazy], shape: Sequence[int]) -> Lazy:
    """The rows of several tensors of one type, one after another. Raises ValueError where types or columns differ."""
    first = tensors[0]
    if {(tensor.type, tensor.row_bytes) for tensor in tensors} != {(first.type, first.row_bytes)}:
        raise ValueError(f"{name} joins tensors of different types: {', '.join(sorted({item.type for item in tensors}))}")
    starts = [0, *accumulate(tensor.rows for tensor in tensors)]

    def read(start: int, stop: int) -> Bytes:
        parts = []
        at = bisect_right(starts, start) - 1
        while start < stop:
            end = min(stop, starts[at + 1])
            if end > start:
                parts.append(tensors[at].read(start - starts[at], end - starts[at]))
            start, at = end, at + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else first.read(0, 0)

    return _checked(Lazy(name, tuple(shape), first.type, first.row_bytes, read), starts[-1])


def column_concat(name: str, tensors: Sequence[Lazy]) -> Lazy:
    """Tensors of one plain type side by side along the last axis. Raises ValueError where types or other axes differ."""
    first = tensors[0]
    if {(tensor.type, tensor.shape[:-1]) for tensor in tensors} != {(first.type, first.shape[:-1])}:
        raise ValueError(f"{name} joins tensors of different types or shapes")
    shape = (*first.shape[:-1], sum(tensor.columns for tensor in tensors))

    def read(start: int, stop: int) -> Bytes:
        return np.concatenate([tensor.read(start, stop) for tensor in tensors], axis=1)

    return Lazy(name, shape, first.type, sum(tensor.row_bytes for tensor in tensors), read)


def reshaped(tensor: Lazy, shape: Sequence[int]) -> Lazy:
    """The same elements in the same order as another shape. Raises ValueError where rows would cut blocks."""
    if prod(shape) != tensor.size:
        raise ValueError(f"{tensor.name} has {tensor.size} elements, {list(shape)} asks for {prod(shape)}")
    width = row_bytes(tensor.type, shape[-1] if shape else 1)
    if width == tensor.row_bytes:
        return replace(tensor, shape=tuple(shape))

    def read(start: int, stop: int) -> Bytes:
        first, last = start * width, stop * width
        low, high = first // tensor.row_bytes, -(-last // tensor.row_bytes)
        flat = tensor.read(low, high).reshape(-1)
        return flat[first - low * tensor.row_bytes : last - low * tensor.row_bytes].reshape(stop - start, width)

    return replace(tensor, shape=tuple(shape), row_bytes=width, read=read)


def transposed(tensor: Lazy, axes: Sequence[int] | None = None) -> Lazy:
    """Axes in another order (default: reversed). It needs all of the tensor at once, from the first row that is read until
    the last one was. Raises ValueError for blocks, whose rows cannot be crossed."""
    if not is_plain(tensor.type):
        raise ValueError(f"{tensor.name} is {tensor.type}: blocks along rows cannot be transposed")
    order = tuple(reversed(range(len(tensor.shape)))) if axes is None else tuple(axes)
    shape = tuple(tensor.shape[axis] for axis in order)
    width = tensor.row_bytes // max(tensor.columns, 1)

    def load() -> Bytes:
        cells = tensor.read(0, tensor.rows).reshape(*tensor.shape, width)
        turned = np.ascontiguousarray(cells.transpose(*order, len(order)))
        return turned.reshape(prod(shape[:-1]), width * (shape[-1] if shape else 1))

    return Lazy(tensor.name, shape, tensor.type, width * (shape[-1] if shape else 1), Held(load, prod(shape[:-1])).read)


class Held:
    """A tensor that cannot be read in parts: it is loaded for the first row, and held until the last one was read."""

    def __init__(self, load: Callable[[], Bytes], rows: int) -> None:
        self._load, self._rows = load, rows
        self._lock, self._left = Lock(), 0
        self._data: Bytes | None = None

    def read(self, start: int, stop: int) -> Bytes:
        """Rows."""
        with self._lock:
            if self._data is None:
                self._data, self._left = self._load(), self._rows
            rows = self._data[start:stop].copy()
            self._left -= stop - start
            if self._left <= 0:
                self._data = None
        return rows


def mapped(tensor: Lazy, function: Callable[[Floats], Floats], kind: str = "F32") -> Lazy:
    """Each row's values [rows, columns] through `function`, stored as the plain floating type `kind`."""
    from bessemer.blocks import encoded

    def read(start: int, stop: int) -> Bytes:
        made = np.ascontiguousarray(function(floats(tensor, start, stop)), np.float32)
        return made.view(np.uint8) if kind == "F32" else encoded(made, kind)

    return replace(tensor, type=kind, row_bytes=row_bytes(kind, tensor.columns), read=read)


def floats(tensor: Lazy, start: int = 0, stop: int | None = None) -> Floats:
    """Values of rows as float32 [rows, columns], decoded where they are blocks."""
    from bessemer.blocks import decoded

    data = tensor.read(start, tensor.rows if stop is None else stop)
    if tensor.type == "F32":
        return np.ascontiguousarray(data).view(np.float32)
    if tensor.type in OTHER_WIDTHS or tensor.type.startswith(("I8", "I16", "I32", "I64", "F64")):
        return np.ascontiguousarray(data).view(numpy_type(tensor.type)).astype(np.float32)
    return decoded(np.ascontiguousarray(data), tensor.type)


def array(tensor: Lazy) -> Floats:
    """All values as float32, in the tensor's shape."""
    return floats(tensor).reshape(tensor.shape)


def stored(tensor: Lazy) -> npt.NDArray[np.generic]:
    """All elements of a plain tensor in its own type. Raises KeyError for blocks."""
    data = np.ascontiguousarray(tensor.read(0, tensor.rows))
    return data.reshape(-1).view(numpy_type(tensor.type)).reshape(tensor.shape)


def from_array(name: str, values: npt.NDArray[np.generic]) -> Lazy:
    """A tensor that is held in memory, of a plain type. Raises KeyError for a type of numpy that no file holds."""
    kind = _NAMES[values.dtype.name]
    width = values.dtype.itemsize * (values.shape[-1] if values.shape else 1)
    rows = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(prod(values.shape[:-1]), width)
    return Lazy(name, values.shape, kind, width, lambda start, stop: rows[start:stop])


def _checked(view: Lazy, rows: int) -> Lazy:
    if view.rows != rows:
        raise ValueError(f"{view.name} would have {rows} rows as {list(view.shape)}")
    return view
