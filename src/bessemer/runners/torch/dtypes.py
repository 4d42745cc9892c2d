"""ONNX, numpy and torch types. int4 and int2 live in int8 (uint8), one per byte; strings have no tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bessemer.ir.types import Array, integer_limits, named_dtype
from bessemer.runners.torch.registry import Tensor, Unsupported

TORCH: dict[str, Any] = {
    "FLOAT": torch.float32, "FLOAT16": torch.float16, "DOUBLE": torch.float64, "BFLOAT16": torch.bfloat16,
    "INT8": torch.int8, "INT16": torch.int16, "INT32": torch.int32, "INT64": torch.int64, "BOOL": torch.bool,
    "UINT8": torch.uint8, "UINT16": torch.uint16, "UINT32": torch.uint32, "UINT64": torch.uint64,
    "COMPLEX64": torch.complex64, "COMPLEX128": torch.complex128,
    "INT4": torch.int8, "INT2": torch.int8, "UINT4": torch.uint8, "UINT2": torch.uint8,
    "FLOAT8E4M3FN": torch.float8_e4m3fn, "FLOAT8E4M3FNUZ": torch.float8_e4m3fnuz,
    "FLOAT8E5M2": torch.float8_e5m2, "FLOAT8E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
"""What holds an ONNX type."""

PACKED = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}

VIEWED = {
    "bfloat16": (np.int16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e4m3fnuz": (np.uint8, torch.float8_e4m3fnuz),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
    "float8_e5m2fnuz": (np.uint8, torch.float8_e5m2fnuz),
}
"""Types that cross between numpy and torch by their bits."""

WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""torch stores these and computes little in them."""

FLOAT8 = tuple(kind for name, (_, kind) in VIEWED.items() if name.startswith("float8"))


def tensor_of(array: Array) -> Tensor:
    """A tensor of an array, of a type of its own memory. Raises Unsupported for strings and four-bit floats."""
    name = array.dtype.name
    if name in PACKED:
        return torch.from_numpy(np.ascontiguousarray(array.astype(PACKED[name])).reshape(array.shape))
    if name in VIEWED:
        bits, kind = VIEWED[name]
        return torch.from_numpy(array.copy().view(bits)).view(kind)
    if array.dtype.kind not in "fiubc":
        raise Unsupported(f"there are no tensors of {name}")
    return torch.from_numpy(np.array(array, order="C", copy=True))


def array_of(tensor: Tensor, declared: str = "") -> Array:
    """The array of a tensor; `declared`: the ONNX type, for integers narrower than a byte."""
    held = tensor.detach().contiguous()
    for name, (bits, kind) in VIEWED.items():
        if held.dtype == kind:
            viewed: Array = held.view(torch.int16 if bits is np.int16 else torch.uint8).numpy()
            return viewed.view(bits).view(named_dtype(name))
    array: Array = held.numpy()
    return array.astype(named_dtype(declared.lower())) if declared.lower() in PACKED else array


def limits(declared: str) -> tuple[int, int]:
    """Lowest and highest value of an ONNX integer type."""
    return integer_limits(named_dtype(declared.lower()))


def onnx_name(number: int) -> str:
    """Name of a type's number in an attribute."""
    import onnx_ir

    return str(onnx_ir.DataType(number).name)


def torch_type(name: str) -> Any:
    """What holds an ONNX type. Raises Unsupported."""
    if name not in TORCH:
        raise Unsupported(f"there are no tensors of {name.lower()}")
    return TORCH[name]
