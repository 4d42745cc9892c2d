"""Storages and the tensors that look into them: checked when they are described, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bessemer.wire.errors import WireError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTHS = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1,
    "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}  # fmt: skip
"""Bytes of an element, by numpy's or ml_dtypes' name."""

STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32", "Untyped": "uint8",
}  # fmt: skip
"""torch's typed storages: 'FloatStorage' without its tail -> the type of an element."""

RANK = 32
SIZE = 1 << 48
SPREAD = 1 << 26
"""Bytes that a tensor of repeated elements may spread to, whatever its storage holds."""


@dataclass
class Storage:
    """A run of bytes in the file. dtype: of the elements that the file counts it in; count: how many.

    load: gives the bytes when they are first needed; swap: they are in the other byte order;
    place: of the first byte in the file, None where they do not lie there as they are; crc: of these bytes, 0: not said.
    """

    key: str
    dtype: str
    count: int
    load: Callable[[], memoryview] | None = None
    swap: bool = False
    place: int | None = None
    crc: int = 0
    _data: memoryview | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes that the file must hold for it."""
        return self.count * WIDTHS[self.dtype]

    def bytes(self) -> memoryview:
        """All of them; raises WireError where the file does not hold what it promised."""
        if self._data is None:
            if self.load is None:
                raise WireError(f"the storage '{self.key}' is named, and the file does not hold it")
            self._data = self.load()
        if len(self._data) < self.nbytes:
            raise WireError(f"the storage '{self.key}' has {len(self._data)} bytes, {self.nbytes} are promised")
        return self._data


@dataclass(frozen=True)
class Quantizer:
    """real = scale * (code - zero_point); axis: that scale and zero_point run along, None for one of each."""

    scale: Any
    zero_point: Any
    axis: int | None = None


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: element (i, j, ..) lies at offset + i * strides[0] + j * strides[1] + ...

    dtype: numpy's or ml_dtypes' name; of the codes where there is a quantizer. Offset and strides count elements.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: Storage = field(repr=False)
    quantizer: Quantizer | None = None
    conjugate: bool = False
    negative: bool = False

    def __post_init__(self) -> None:
        """Raises WireError for a view that leaves its storage."""
        numbers = (*self.shape, *self.strides, self.offset)
        if any(not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < SIZE for item in numbers):
            raise WireError("a tensor with a size, stride or offset that none can have")
        if len(self.shape) != len(self.strides) or len(self.shape) > RANK:
            raise WireError(f"a tensor of {len(self.shape)} sizes and {len(self.strides)} strides")
        room = self.storage.nbytes // WIDTHS[self.dtype]
        if self.size and self._last() >= room:
            raise WireError(f"a tensor reaches element {self._last()} of the storage '{self.storage.key}', which has {room}")
        if self.nbytes > max(SPREAD, 16 * self.storage.nbytes):
            raise WireError(f"a tensor spreads {self.storage.nbytes} bytes to {self.nbytes}")

    def _last(self) -> int:
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * stride for size, stride in steps)

    @property
    def size(self) -> int:
        """How many elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, side by side."""
        return self.size * WIDTHS[self.dtype]

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie side by side in the order of the axes."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return self.size == 0
            step *= size
        return True

    def numpy(self) -> npt.NDArray[np.generic]:
        """The elements (the codes of a quantized tensor): a read-only view of the mapped file where that is possible."""
        import ml_dtypes
        import numpy as np

        kind = np.dtype(getattr(ml_dtypes, self.dtype, None) or self.dtype)
        if not self.size:
            return np.empty(self.shape, kind)
        steps = tuple(stride * kind.itemsize for stride in self.strides)
        view: npt.NDArray[np.generic]
        view = np.ndarray(self.shape, kind, self.storage.bytes(), self.offset * kind.itemsize, steps)
        if self.storage.swap and kind.itemsize > 1:
            view = view.byteswap()
        view = view if view.flags.aligned else view.copy()
        view = np.conjugate(view) if self.conjugate else view
        return np.negative(view) if self.negative else view

    def marked(self, facts: dict[str, Any]) -> Tensor:
        """With torch's lazy `conj` and `neg` bits, as `_rebuild_tensor_v2` is told of them."""
        return replace(self, conjugate=bool(facts.get("conj")), negative=bool(facts.get("neg")))


@dataclass(frozen=True)
class Unread:
    """A value that the file describes and nobody here can use: `kind` says what it is ('a sparse tensor')."""

    kind: str
