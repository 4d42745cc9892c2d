"""llama2.c's model files (versions 0, 1 and 2) with the tokenizer beside them, in Hugging Face's form of a Llama."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bessemer.ir.checkpoint import Bytes, Checkpoint, Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.ir.model import Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.llama2c.names import Facts, translated
from bessemer.sources.llama2c.vocabulary import beside
from bessemer.sources.weight_files import WeightFiles
from bessemer.weights.files import FileBytes, stored_at
from bessemer.wire.errors import WireError
from bessemer.wire.llama2c import Place, read


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The model. Raises UnreadableInput for a header that does not fit the file."""
    try:
        model = read(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is no whole model of llama2.c", why=str(error)) from None
    sizes, file = model.sizes, FileBytes(path)
    facts = Facts(
        sizes.dim, sizes.hidden, sizes.layers, sizes.heads, sizes.kv_heads, sizes.vocab, sizes.context
    )
    config, tensors = translated(facts, {place.name: _lazy(file, place, sizes.group) for place in model.places})
    tokens = beside(path, sizes.vocab)
    lacking = f"No tokenizer.bin or tok{sizes.vocab}.bin with {sizes.vocab} tokens lies beside it: it has no tokenizer"
    return Checkpoint(
        tensors, config, tokens, Origin("llama2c", path, {"version": sizes.version}), notes=[] if tokens else [lacking]
    )


def _lazy(file: FileBytes, place: Place, group: int) -> Lazy:
    if place.scales is None:
        return stored_at(file, place.name, place.shape, "F32", place.offset)
    return Lazy(place.name, place.shape, "F32", 4 * place.shape[-1], _Grouped(file, place, group).read)


class _Grouped:
    """Codes of 8 bits, `group` of which share a scale; groups run on from row to row."""

    def __init__(self, file: FileBytes, place: Place, group: int) -> None:
        self._file, self._place, self._group = file, place, group

    def read(self, start: int, stop: int) -> Bytes:
        """Rows as float32, as llama2.c computes them: code * scale."""
        columns, place = self._place.shape[-1], self._place
        first, last = start * columns // self._group, -(-stop * columns // self._group)
        codes = self._file.read(place.offset + first * self._group, (last - first) * self._group).view(np.int8)
        scales = self._file.read((place.scales or 0) + 4 * first, 4 * (last - first)).view(np.float32)
        values = (codes.reshape(-1, self._group).astype(np.float32) * scales[:, None]).reshape(-1)
        begin = start * columns - first * self._group
        rows = values[begin : begin + (stop - start) * columns].reshape(stop - start, columns)
        return np.ascontiguousarray(rows).view(np.uint8)


SOURCE = WeightFiles("llama2.c", checkpoint)
