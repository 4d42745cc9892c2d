"""Rows of weights encoded and decoded by ggml's own code, in this process: an oracle for tests of `bessemer.blocks`."""

from __future__ import annotations

import ctypes as c
from functools import lru_cache
from typing import Any

import numpy as np

from bessemer.blocks.base import Bytes, Floats
from bessemer.ir.errors import RuntimeRefused
from bessemer.runners.llama.library import preload
from bessemer.runners.llama.place import find
from bessemer.wire.gguf.types import BY_NAME


class _Traits(c.Structure):
    """The head of ggml_type_traits."""

    _fields_ = (
        ("type_name", c.c_char_p),
        ("blck_size", c.c_int64),
        ("blck_size_interleave", c.c_int64),
        ("type_size", c.c_size_t),
        ("is_quantized", c.c_bool),
        ("to_float", c.c_void_p),
    )


_TO_FLOAT = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int64)


def quantized(weights: Floats, name: str, importance: Floats | None = None) -> Bytes:
    """Weights [rows, columns] as bytes [rows, row_bytes] by ggml_quantize_chunk. importance: [columns].
    Raises LlamaMissing; ValueError for a type that ggml cannot encode without an importance matrix."""
    ggml, kind = _ggml(), BY_NAME[name]
    if importance is None and ggml.ggml_quantize_requires_imatrix(kind.id):
        raise ValueError(f"ggml encodes {name} with an importance matrix only")
    held = np.ascontiguousarray(weights, np.float32)
    factors = None if importance is None else np.ascontiguousarray(importance, np.float32)
    out = np.zeros((len(held), kind.row_bytes(held.shape[1])), np.uint8)
    place = None if factors is None else factors.ctypes.data
    size = ggml.ggml_quantize_chunk(kind.id, held.ctypes.data, out.ctypes.data, 0, *held.shape, place)
    if size != out.nbytes:
        raise RuntimeRefused(f"ggml wrote {size} bytes of {name} where {out.nbytes} were expected")
    return out


def dequantized(data: Bytes, name: str) -> Floats:
    """Bytes [rows, row_bytes] as weights [rows, columns] by ggml's own decoder. Raises LlamaMissing."""
    kind = BY_NAME[name]
    held = np.ascontiguousarray(data)
    out = np.empty((len(held), held.shape[1] // kind.bytes * kind.elements), np.float32)
    if name == "F32":
        out[:] = held.view(np.float32)
        return out
    traits = _ggml().ggml_get_type_traits(kind.id).contents
    if traits.type_size != kind.bytes or traits.blck_size != kind.elements or not traits.to_float:
        raise RuntimeRefused(
            f"This release of ggml describes {name} in a way that is not known, or cannot decode it"
        )
    _TO_FLOAT(traits.to_float)(held.ctypes.data, out.ctypes.data, out.size)
    return out


@lru_cache(maxsize=1)
def _ggml() -> Any:
    ggml = next(held for held in preload(find().parent) if hasattr(held, "ggml_quantize_chunk"))
    ggml.ggml_quantize_chunk.restype = c.c_size_t
    ggml.ggml_quantize_chunk.argtypes = (
        c.c_int,
        c.c_void_p,
        c.c_void_p,
        c.c_int64,
        c.c_int64,
        c.c_int64,
        c.c_void_p,
    )
    ggml.ggml_quantize_requires_imatrix.restype = c.c_bool
    ggml.ggml_get_type_traits.restype = c.POINTER(_Traits)
    return ggml
