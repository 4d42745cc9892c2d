"""llama.cpp as a runtime: its shared library, wherever it is installed, called in a child process.

`find` says where it is and loads nothing; `Llama` is a model in it (`client`); `quantize` calls llama.cpp's own quantizer;
`ggml` encodes and decodes single rows by ggml's own code, as an oracle for tests.
"""

from __future__ import annotations

from bessemer.runners.llama.client import FTYPES, Llama, quantize
from bessemer.runners.llama.place import HOW_TO_GET, LlamaMissing, available, find, version

__all__ = ["FTYPES", "HOW_TO_GET", "Llama", "LlamaMissing", "available", "find", "quantize", "version"]
