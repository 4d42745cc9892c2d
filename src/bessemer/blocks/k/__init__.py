"""Q2_K to Q6_K: super-blocks of 256 weights. Encoders give the bytes of ggml's own (`ggml_quantize_chunk` as compiled for
x86-64), with and without an importance matrix; decoders its float32.

Weights that are infinite or NaN give bytes that mean nothing, as in ggml: callers refuse them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bessemer.blocks.base import Bytes, Codec, Decode, Encode, Floats
from bessemer.blocks.k import q2, q3, q6, q45
from bessemer.wire.gguf.types import BY_NAME

_NONE = np.empty(0, np.float32)


def _flat(array: Any) -> Any:
    """A view with one axis. Raises ValueError where the rows do not lie one after another: a copy would not be filled."""
    if not array.flags.c_contiguous:
        raise ValueError("bytes and weights of k-quants must lie row after row in memory")
    return array.reshape(-1)


def _encoder(plain: Callable[[Any, Any], None], weighted: Callable[[Any, Any, Any], None]) -> Encode:
    def encode(weights: Floats, importance: Floats | None, out: Bytes) -> None:
        source, filled = np.ascontiguousarray(weights, np.float32).reshape(-1), _flat(out)
        if importance is None:
            plain(source, filled)
        elif importance.shape != weights.shape[1:]:
            raise ValueError(f"importance {importance.shape} does not fit rows of {weights.shape[1]}")
        else:
            weighted(source, np.ascontiguousarray(importance, np.float32), filled)

    return encode


def _decoder(kernel: Callable[[Any, Any], None]) -> Decode:
    def decode(data: Bytes, out: Floats) -> None:
        kernel(np.ascontiguousarray(data).reshape(-1), _flat(out))

    return decode


def _codec(name: str, encode: Encode, decode: Callable[[Any, Any], None]) -> Codec:
    return Codec(BY_NAME[name], _decoder(decode), encode)


CODECS: dict[str, Codec] = {
    "Q2_K": _codec("Q2_K", _encoder(q2.encode, q2.encode_weighted), q2.decode),
    "Q3_K": _codec("Q3_K", _encoder(q3.encode, q3.encode_weighted), q3.decode),
    "Q4_K": _codec(
        "Q4_K",
        _encoder(
            lambda x, out: q45.encode(x, out, 15, np.float32(-1), 20),
            lambda x, importance, out: q45.encode_weighted(x, importance, out, 15),
        ),
        lambda data, out: q45.decode(data, out, False),
    ),
    "Q5_K": _codec(
        "Q5_K",
        _encoder(
            lambda x, out: q45.encode(x, out, 31, np.float32(-0.5), 15),
            lambda x, importance, out: q45.encode_weighted(x, importance, out, 31),
        ),
        lambda data, out: q45.decode(data, out, True),
    ),
    "Q6_K": _codec("Q6_K", _encoder(lambda x, out: q6.encode(x, _NONE, out), q6.encode), q6.decode),
}
