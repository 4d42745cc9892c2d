"""What a TFLite file's metadata says of its inputs: the buffer TFLITE_METADATA, itself a flatbuffer ("M001").

Facts: tensorflow/tflite-support, metadata_schema.fbs. Only the path to an input's statistics and normalisation is
walked. Every position is checked before use, and vectors are short.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bessemer.wire.errors import WireError

NAME = "TFLITE_METADATA"
LONGEST = 256
"""Elements of any vector."""

SUBGRAPHS, INPUTS, PROCESSES, STATISTICS = 3, 2, 4, 5
"""Slots of ModelMetadata.subgraph_metadata, SubGraphMetadata.input_tensor_metadata, TensorMetadata.process_units and
.stats."""
NORMALIZATION = 1
"""ProcessUnitOptions of type NormalizationOptions."""


def input_ranges(data: bytes | memoryview) -> list[tuple[float, float] | None]:
    """The range that real values of each input of the first subgraph have; None where nothing is said.

    From the statistics (min, max), else what the stated normalisation, (x - mean) / std, makes of 0 to 255. Raises
    WireError for a broken buffer.
    """
    flat = _Flat(memoryview(data).cast("B"))
    try:
        root = flat.u32(0)
        graph = next(flat.tables(root, SUBGRAPHS), None)
        return [] if graph is None else [_range(flat, tensor) for tensor in flat.tables(graph, INPUTS)]
    except struct.error as error:
        raise WireError(f"metadata ends too early: {error}", where=NAME) from None


def _range(flat: _Flat, tensor: int) -> tuple[float, float] | None:
    statistics = flat.table(tensor, STATISTICS)
    if statistics is not None:
        high, low = flat.floats(statistics, 0), flat.floats(statistics, 1)
        if high and low and min(low) < max(high):
            return min(low), max(high)
    for unit in flat.tables(tensor, PROCESSES):
        place = flat.field(unit, 0)
        if place is None or flat.u8(place) != NORMALIZATION:
            continue
        options = flat.table(unit, 1)
        mean, std = (flat.floats(options, slot) if options is not None else () for slot in (0, 1))
        if mean and std and min(std) > 0:
            return min(-m / min(std) for m in mean), max((255 - m) / min(std) for m in mean)
    return None


class _Flat:
    """Bounded access to a flatbuffer."""

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def _at(self, code: str, place: int) -> int | float:
        if place < 0:
            raise WireError("an offset points before the buffer", where=NAME)
        found: int | float = struct.unpack_from(f"<{code}", self.data, place)[0]
        return found

    def u8(self, place: int) -> int:
        return int(self._at("B", place))

    def u32(self, place: int) -> int:
        return int(self._at("I", place))

    def field(self, table: int, slot: int) -> int | None:
        """Where a field of a table lies; None when it is absent."""
        layout = table - int(self._at("i", table))
        place = 4 + 2 * slot
        offset = int(self._at("H", layout + place)) if place < int(self._at("H", layout)) else 0
        return table + offset if offset else None

    def table(self, table: int, slot: int) -> int | None:
        place = self.field(table, slot)
        return None if place is None else place + self.u32(place)

    def _vector(self, table: int, slot: int) -> tuple[int, int]:
        start = self.table(table, slot)
        count = 0 if start is None else self.u32(start)
        if count > LONGEST:
            raise WireError(f"a vector of {count} elements", where=NAME)
        return (start or 0) + 4, count

    def tables(self, table: int, slot: int) -> Iterator[int]:
        start, count = self._vector(table, slot)
        for place in range(start, start + 4 * count, 4):
            yield place + self.u32(place)

    def floats(self, table: int, slot: int) -> tuple[float, ...]:
        start, count = self._vector(table, slot)
        return tuple(float(self._at("f", place)) for place in range(start, start + 4 * count, 4))
