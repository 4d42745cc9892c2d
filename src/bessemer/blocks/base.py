"""What a number format is, and the registry of known ones (listed without importing their modules, or numba)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import numpy.typing as npt

from bessemer.ir.errors import MissingExtra
from bessemer.wire.gguf.types import BY_NAME, TensorType

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

Encode = Callable[[Floats, "Floats | None", Bytes], None]
"""(weights [rows, columns], importance [columns] or None, bytes [rows, row_bytes] to fill). Holds no lock: callers run it in
threads, on parts of the rows."""
Decode = Callable[[Bytes, Floats], None]
"""(bytes [rows, row_bytes], weights [rows, columns] to fill). Holds no lock."""


@dataclass(frozen=True)
class Codec:
    """Both directions of a format. encode: None where ggml has none, or needs tables that are chosen by search;
    needs_importance: the encoder asks for an importance matrix, as ggml's does."""

    type: TensorType
    decode: Decode
    encode: Encode | None = None
    needs_importance: bool = False


_MODULES = {
    **dict.fromkeys(("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"), "plain"),
    **dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q8_K", "Q1_0", "Q2_0"), "legacy"),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"), "k"),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS"), "iq4"),
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), "iq"),
    **dict.fromkeys(("TQ1_0", "TQ2_0"), "ternary"),
    **dict.fromkeys(("MXFP4", "NVFP4"), "fp4"),
}
"""Format -> module of this package whose `CODECS` holds it by name."""


def codecs() -> tuple[str, ...]:
    """Names of all formats, importing nothing."""
    return tuple(_MODULES)


def codec(name: str) -> Codec:
    """A format by ggml's name ('Q4_K'). Raises KeyError for an unknown one, MissingExtra where numba is missing."""
    try:
        held: dict[str, Codec] = import_module(f"bessemer.blocks.{_MODULES[name]}").CODECS
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise MissingExtra("numba", extra="gguf", needed_for=f"Encoding and decoding {name} weights") from None
    return held[name]


def encoded(weights: Floats, name: str, importance: Floats | None = None) -> Bytes:
    """Weights [rows, columns] as bytes [rows, row_bytes], in this thread. Raises ValueError for a row that blocks do not
    fill, or a format that has no encoder."""
    how = codec(name)
    if how.encode is None:
        raise ValueError(f"{name} can be decoded, not encoded")
    out = np.empty((len(weights), BY_NAME[name].row_bytes(weights.shape[1])), np.uint8)
    how.encode(weights, importance, out)
    return out


def decoded(data: Bytes, name: str) -> Floats:
    """Bytes [rows, row_bytes] as weights [rows, columns], in this thread. Raises ValueError for a row of broken blocks."""
    kind = BY_NAME[name]
    if data.shape[1] % kind.bytes:
        raise ValueError(f"a row of {data.shape[1]} bytes is no multiple of {name}'s block of {kind.bytes}")
    out = np.empty((len(data), data.shape[1] // kind.bytes * kind.elements), np.float32)
    codec(name).decode(data, out)
    return out
