"""Names, types and shapes at the border of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bessemer.ir.types import Shape

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: `dtype` is a numpy or ml_dtypes name ('float32', 'bfloat16', 'str')."""

    name: str
    dtype: str
    shape: Shape

    @property
    def dynamic(self) -> bool:
        """Whether a dimension is unbound."""
        return any(not isinstance(dim, int) for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def dynamic(self) -> bool:
        """Whether an input has an unbound dimension."""
        return any(spec.dynamic for spec in self.inputs)


def spec_of(value: onnx_ir.Value) -> TensorSpec:
    """The border description of an IR value; a sequence or optional has dtype 'sequence' or 'optional'."""
    import numpy as np
    import onnx_ir

    kind = "float32"
    if isinstance(value.type, onnx_ir.SequenceType):
        kind = "sequence"
    elif isinstance(value.type, onnx_ir.OptionalType):
        kind = "optional"
    elif value.dtype == onnx_ir.DataType.STRING:
        kind = "str"
    elif value.dtype is not None:
        kind = np.dtype(value.dtype.numpy()).name
    dims = () if value.shape is None else value.shape
    shape = tuple(d if isinstance(d, int) else d.value for d in dims)
    return TensorSpec(value.name or "", kind, shape)


def signature_of(graph: onnx_ir.Graph) -> Signature:
    """Inputs that a caller must feed (initializers excluded) and outputs of `graph`."""
    fed = [value for value in graph.inputs if value.name not in graph.initializers]
    return Signature(tuple(map(spec_of, fed)), tuple(map(spec_of, graph.outputs)))
