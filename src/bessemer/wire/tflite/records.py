"""Plain records of a TFLite file, field for field as in its schema.

An enumeration's value is kept as the file's integer (it compares equal to the IntEnum in `schema`), so that
a file newer than this schema can still be described. Vectors of numbers are tuples, vectors of tables lists.
A field left out of the file holds its default. `compare=False` marks fields that say how something was
stored and not what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = tuple[int, ...]
Floats = tuple[float, ...]


@dataclass
class Options:
    """A member of a union: the table's name and every field of it by name, defaults filled in."""

    table: str
    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The field `name`; KeyError when the table has none such."""
        return self.fields[name]


@dataclass(frozen=True)
class LazyBytes:
    """`size` bytes that `make` yields when the writer reaches them; never held twice."""

    size: int
    make: Callable[[], bytes | memoryview | npt.NDArray[Any]]


@dataclass
class Buffer:
    """Bytes of a tensor or of metadata; None: no bytes (an activation, or an empty tensor).

    Read: a view into the file (nothing copied), wherever the bytes lie: in the flatbuffer, or past its end
    at `offset` (`size` bytes), as files above 2 GiB have it.
    """

    data: bytes | memoryview | npt.NDArray[Any] | LazyBytes | None = None
    offset: int = field(default=0, compare=False)
    size: int = field(default=0, compare=False)

    @property
    def nbytes(self) -> int:
        """Number of bytes held."""
        if self.data is None:
            return 0
        if isinstance(self.data, LazyBytes):
            return self.data.size
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes

    def view(self) -> memoryview:
        """The bytes, copied only if an array is not contiguous."""
        data = self.data.make() if isinstance(self.data, LazyBytes) else self.data
        if isinstance(data, np.ndarray):
            return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        return memoryview(data or b"").cast("B")


@dataclass
class QuantizationParameters:
    """real = scale * (integer - zero_point), per tensor or along `quantized_dimension`."""

    min: Floats = ()
    max: Floats = ()
    scale: Floats = ()
    zero_point: Ints = ()
    details_type: int = 0
    details: Options | None = None
    quantized_dimension: int = 0


@dataclass
class DimensionMetadata:
    """How one dimension of a sparse tensor is stored (TACO style: dense, or segments and indices)."""

    format: int = 0
    dense_size: int = 0
    array_segments_type: int = 0
    array_segments: Options | None = None
    array_indices_type: int = 0
    array_indices: Options | None = None


@dataclass
class SparsityParameters:
    """Order in which a sparse tensor's dimensions (and blocks) are walked."""

    traversal_order: Ints = ()
    block_map: Ints | None = None
    dim_metadata: list[DimensionMetadata] = field(default_factory=list)


@dataclass
class VariantSubType:
    """Type of a tensor inside a variant (a list of tensors)."""

    shape: Ints = ()
    type: int = 0
    has_rank: bool = False


@dataclass
class Tensor:
    """A value. `shape_signature` has -1 where `shape` has a stand-in; None: nothing is dynamic."""

    shape: Ints = ()
    type: int = 0
    buffer: int = 0
    name: str | None = None
    quantization: QuantizationParameters | None = None
    is_variable: bool = False
    sparsity: SparsityParameters | None = None
    shape_signature: Ints | None = None
    has_rank: bool = False
    variant_tensors: list[VariantSubType] | None = None
    external_buffer: int = 0


@dataclass
class OperatorCode:
    """An operator used by the model. `builtin_code` is resolved: old files only have the deprecated one."""

    deprecated_builtin_code: int = field(default=0, compare=False)
    custom_code: str | None = None
    version: int = 1
    builtin_code: int = 0


@dataclass
class Operator:
    """A node; inputs and outputs index the subgraph's tensors (-1: left out)."""

    opcode_index: int = 0
    inputs: Ints = ()
    outputs: Ints = ()
    builtin_options_type: int = 0
    builtin_options: Options | None = None
    custom_options: bytes | None = None
    custom_options_format: int = 0
    mutating_variable_inputs: tuple[bool, ...] | None = None
    intermediates: Ints | None = None
    large_custom_options_offset: int = field(default=0, compare=False)
    large_custom_options_size: int = field(default=0, compare=False)
    builtin_options2_type: int = 0
    builtin_options2: Options | None = None
    debug_metadata_index: int = -1


@dataclass
class SubGraph:
    """A graph; inputs and outputs index its tensors."""

    tensors: list[Tensor] = field(default_factory=list)
    inputs: Ints = ()
    outputs: Ints = ()
    operators: list[Operator] = field(default_factory=list)
    name: str | None = None
    debug_metadata_index: int = -1


@dataclass
class ExternalBufferGroup:
    """A file of weights beside the model."""

    name: str | None = None


@dataclass
class ExternalBuffer:
    """Bytes inside such a file."""

    id: int = 0
    group: int = 0
    offset: int = 0
    length: int = 0
    packing: str | None = None


@dataclass
class Metadata:
    """A name and the index of the buffer with its value."""

    name: str | None = None
    buffer: int = 0


@dataclass
class TensorMap:
    """A signature's name for a tensor."""

    name: str | None = None
    tensor_index: int = 0


@dataclass
class SignatureDef:
    """A named entry point."""

    inputs: list[TensorMap] = field(default_factory=list)
    outputs: list[TensorMap] = field(default_factory=list)
    signature_key: str | None = None
    subgraph_index: int = 0


@dataclass
class Model:
    """A whole file. `unknown`: fields present that this schema does not know, "Table[slot]"; not kept."""

    version: int = 3
    operator_codes: list[OperatorCode] = field(default_factory=list)
    subgraphs: list[SubGraph] = field(default_factory=list)
    description: str | None = None
    buffers: list[Buffer] = field(default_factory=list)
    metadata_buffer: Ints | None = None
    metadata: list[Metadata] = field(default_factory=list)
    signature_defs: list[SignatureDef] = field(default_factory=list)
    external_buffer_groups: list[ExternalBufferGroup] = field(default_factory=list)
    external_buffers: list[ExternalBuffer] = field(default_factory=list)
    unknown: tuple[str, ...] = field(default=(), compare=False)


RECORDS: dict[str, type[Any]] = {
    c.__name__: c
    for c in (
        Buffer, QuantizationParameters, DimensionMetadata, SparsityParameters, VariantSubType, Tensor,
        OperatorCode, Operator, SubGraph, ExternalBufferGroup, ExternalBuffer, Metadata, TensorMap,
        SignatureDef, Model,
    )
}  # fmt: skip
