"""Weights that are stored as Q4_0 or Q8_0 stay the integers that they are: such blocks are what ONNX means by blocked
quantization, so nothing is rounded again.

Layout (ggml-common.h's block_q4_0, block_q8_0): a float16 scale, then 32 weights; 4-bit ones as 16 bytes whose low halves
are the first 16 weights and whose high halves the others, less 8.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.encoding import Encoding, QuantizedWeight
from bessemer.ir.types import Array, named_dtype

BLOCK = 32
CODES = {"Q4_0": ("UINT4", 8), "Q8_0": ("INT8", 0)}
"""Type -> that of the integers in ONNX, and the zero point."""


class StoredBlocks(QuantizedWeight):
    """A matrix [results, columns] as MatMul wants it, [columns, results], in blocks along the columns. Scales are held; the
    integers are read anew, but for those of the matrix that was asked for last."""

    _last: ClassVar[tuple[Any, Array] | None] = None

    def __init__(self, tensor: Lazy) -> None:
        self._stored = tensor
        kind, zero = CODES[tensor.type]
        scales = np.ascontiguousarray(self._blocks()[:, :, :2]).view(np.float16)[:, :, 0].astype(np.float32)
        zeros = np.full(scales.shape, zero, named_dtype(kind.lower()))
        self.encoding = Encoding(kind, scales.T, zeros.T, axis=0, block_size=BLOCK)

    @property
    def integers(self) -> Array:  # type: ignore[override]  # what the base holds is read here
        """[columns, results]."""
        held = StoredBlocks._last
        if held is None or held[0] is not self:
            StoredBlocks._last = held = (self, self._integers())
        return held[1]

    def _integers(self) -> Array:
        tensor, data = self._stored, self._blocks()[:, :, 2:]
        codes = _nibbles(data) if tensor.type == "Q4_0" else data.view(np.int8)
        kind = named_dtype(CODES[tensor.type][0].lower())
        return codes.reshape(tensor.rows, tensor.columns).astype(kind, copy=False).T

    def _blocks(self) -> Array:
        """[results, blocks, bytes]."""
        tensor = self._stored
        return tensor.read(0, tensor.rows).reshape(tensor.rows, tensor.columns // BLOCK, -1)


def _nibbles(data: Array) -> Array:
    return np.concatenate([data & 15, data >> 4], axis=2)
