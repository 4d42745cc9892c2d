"""Type names used across the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    IntArray = npt.NDArray[np.int64]
else:  # the types of every signature: naming them must not cost an import of numpy
    Array = IntArray = Any

Shape = tuple[int | str | None, ...]
"""One entry per axis: a size, a symbol's name, or None where nothing is known."""

Perm = tuple[int, ...]

def named_dtype(name: str) -> np.dtype[np.generic]:
    """numpy dtype of a name that may belong to ml_dtypes ('bfloat16', 'float8_e4m3fn', 'int4')."""
    import ml_dtypes
    import numpy as np

    extended = getattr(ml_dtypes, name, None)
    return np.dtype(extended if extended is not None and not hasattr(np, name) else name)


def integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Lowest and highest value of an integer type, ml_dtypes' narrow ones included."""
    import ml_dtypes

    found: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return int(found.min), int(found.max)


def int64s(items: Iterable[int]) -> IntArray:
    """A vector of int64: how ONNX wants axes, shapes and sizes."""
    import numpy as np

    return np.array(list(items), np.int64)
