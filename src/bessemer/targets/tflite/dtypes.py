"""Which TFLite tensor type holds a value of an ONNX type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

TYPES: dict[str, str] = {
    "FLOAT": "FLOAT32",
    "FLOAT16": "FLOAT32",
    "BFLOAT16": "FLOAT32",
    "DOUBLE": "FLOAT32",
    "FLOAT8E4M3FN": "FLOAT32",
    "FLOAT8E4M3FNUZ": "FLOAT32",
    "FLOAT8E5M2": "FLOAT32",
    "FLOAT8E5M2FNUZ": "FLOAT32",
    "FLOAT8E8M0": "FLOAT32",
    "FLOAT4E2M1": "FLOAT32",
    "INT4": "INT8",
    "UINT4": "UINT8",
    "INT2": "INT8",
    "UINT2": "UINT8",
    "INT8": "INT8",
    "UINT8": "UINT8",
    "INT16": "INT16",
    "UINT16": "UINT16",
    "INT32": "INT32",
    "UINT32": "UINT32",
    "INT64": "INT64",
    "UINT64": "UINT64",
    "BOOL": "BOOL",
    "COMPLEX64": "COMPLEX64",
    "COMPLEX128": "COMPLEX64",
    "STRING": "STRING",
}
"""Types that LiteRT computes in. Half, bfloat16, double and 8-bit floats compute in float32, narrow
integers in 8 bits.
"""

NUMPY: dict[str, Any] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "UINT16": np.uint16,
    "INT32": np.int32,
    "UINT32": np.uint32,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    "COMPLEX64": np.complex64,
    "STRING": np.object_,
}

_NAMES = {np.dtype(kind): name for name, kind in NUMPY.items()}


def tensor_type(value: ir.Value) -> str:
    """TensorType name for an unencoded ONNX value; FLOAT32 where the type is unknown."""
    return "FLOAT32" if value.dtype is None else TYPES.get(value.dtype.name, "FLOAT32")


def array_type(dtype: Any) -> str:
    """TensorType name for a numpy dtype; double becomes FLOAT32's name only through an explicit cast,
    so it raises.
    """
    return _NAMES[np.dtype(dtype)]


def border_dtype(type_: str) -> str:
    """numpy name of a TensorType, as a Border says it."""
    return "str" if type_ == "STRING" else np.dtype(NUMPY[type_]).name
