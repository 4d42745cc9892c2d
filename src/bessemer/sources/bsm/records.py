"""What a `.bsm` says beside its graph: where the model came from, how far it is, and what ONNX cannot hold."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bessemer.ir.canonical import COMPUTED_KEY, HALF_KEY
from bessemer.sources.base import OpenOptions

STATE, GRAPH, WEIGHTS = "bessemer.json", "graph.onnx", "weights.bin"
"""The three entries of the zip, stored without compression; weights.bin is mapped where it lies."""

FACTS = (HALF_KEY, COMPUTED_KEY)
"""What `Graph.meta` of the main graph says and ONNX cannot hold."""

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
    `encoding` and means real values; sizes: axis -> two sizes that an input is verified at.
    """

    place: int
    name: str
    tensor: tuple[str, tuple[int, ...]] | None = None
    encoding: EncodingRecord | None = None
    integers: bool = False
    sizes: dict[int, tuple[int, int]] = {}


class NodeRecord(Record):
    """Marks of one node, by its number in the order of `all_nodes`."""

    place: int
    marks: tuple[str, ...]


class OriginalRecord(Record):
    """The file that verification runs; `path` is relative to the archive's folder. task: that was asked for."""

    path: str
    format: str
    bytes: int
    sha256: str
    signature: str | None
    details: dict[str, str]
    task: str | None = None

    @property
    def opening(self) -> OpenOptions:
        """How the original was opened."""
        return OpenOptions(signature=self.signature, task=self.task)


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
    """The whole of bessemer.json. external: whether the source kept its constants in files of their own; facts: of the
    graph, by their keys in `ir.canonical`."""

    version: Literal[1] = 1
    bessemer: str
    stage: Stage
    original: OriginalRecord
    external: bool
    facts: dict[str, str] = {}
    notes: tuple[str, ...]
    operators: dict[str, int]
    passes: tuple[PassRecord, ...]
    values: tuple[ValueRecord, ...]
    nodes: tuple[NodeRecord, ...]
    quantized: QuantizedRecord | None = None
    cut: CutRecord | None = None
