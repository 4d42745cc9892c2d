"""What a `.bsm` says beside its graph: where the model came from, how far it is, and what ONNX cannot hold."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

STATE, GRAPH, WEIGHTS = "bessemer.json", "graph.onnx", "weights.bin"
"""The three entries of the zip, stored without compression; weights.bin is mapped where it lies."""

Stage = Literal["open", "normalise", "rewrite", "quantize"]


class Record(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EncodingRecord(Record):
    """An `ir.Encoding`: scale and zero point flat, with their common shape."""

    dtype: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None
    block_size: int


class ValueRecord(Record):
    """One value of the graph: its number in the order of `values_of`, and its name as a check.

    tensor: name and axis order in the original; integers: whether the constant is stored as the integers of
    `encoding` and means real values.
    """

    place: int
    name: str
    tensor: tuple[str, tuple[int, ...]] | None = None
    encoding: EncodingRecord | None = None
    integers: bool = False


class NodeRecord(Record):
    """Marks of one node, by its number in the order of `all_nodes`."""

    place: int
    marks: tuple[str, ...]


class OriginalRecord(Record):
    """The file that verification runs; `path` is relative to the archive's folder."""

    path: str
    format: str
    bytes: int
    sha256: str
    signature: str | None
    details: dict[str, str]


class PassRecord(Record):
    """A line of the report's pass table."""

    name: str
    options: str
    changed: int
    seconds: float
    declined: tuple[str, ...] = ()


class QuantizedRecord(Record):
    """What the stage `quantize` did: the precision, and its record for the report, as JSON."""

    precision: str
    record: str
    notes: tuple[str, ...] = ()


class TapRecord(Record):
    """A border of a cut: its name in the graph, and what the original calls the tensor."""

    name: str
    tensor: str


class CutRecord(Record):
    """What part of the original the graph is; shapes: of the whole's inputs, as the user bound them."""

    inputs: tuple[TapRecord, ...]
    outputs: tuple[TapRecord, ...]
    nodes: int
    of: int
    shapes: dict[str, tuple[int | str | tuple[int, int], ...]] = {}


class State(Record):
    """The whole of bessemer.json. external: whether the source kept its constants in files of their own."""

    version: Literal[1] = 1
    bessemer: str
    stage: Stage
    original: OriginalRecord
    external: bool
    notes: tuple[str, ...]
    operators: dict[str, int]
    passes: tuple[PassRecord, ...]
    values: tuple[ValueRecord, ...]
    nodes: tuple[NodeRecord, ...]
    quantized: QuantizedRecord | None = None
    cut: CutRecord | None = None
