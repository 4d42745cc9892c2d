"""Number formats of ggml: how blocks of weights are encoded in bytes, and decoded. One file per family of formats.

`codec(name)` gives the two directions; `wire.gguf.types` has the sizes. Numba compiles them on first use.
"""

from __future__ import annotations

from bessemer.blocks.base import Codec, codec, codecs, decoded, encoded

__all__ = ["Codec", "codec", "codecs", "decoded", "encoded"]
