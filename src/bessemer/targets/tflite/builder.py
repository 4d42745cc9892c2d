"""The file being built: subgraphs of tensors and operators, still as plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bessemer.ir.encoding import Encoding
from bessemer.ir.types import Array
from bessemer.wire.tflite.schema import BuiltinOptions, BuiltinOptions2

Dims = tuple[int | None, ...]
"""Physical shape; None is a size known only when the model runs."""


@dataclass
class Tensor:
    """One tensor. `type` is a name of TensorType; `encoding.axis` counts physical axes; `data` of
    constants.
    """

    name: str
    type: str
    shape: Dims
    data: Callable[[], Array] | None = None
    encoding: Encoding | None = None
    variable: bool = False


@dataclass
class Op:
    """One operator. `options` are fields of the operator's own options table; -1 stands for an absent
    input.
    """

    code: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    custom_code: str = ""
    custom_options: bytes = b""
    intermediates: list[int] = field(default_factory=list)


@dataclass
class Subgraph:
    """Tensors, operators in execution order, and borders."""

    name: str
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> int:
        """Index of `tensor` in this subgraph; its name is made unique."""
        tensor.name = self._unique(tensor.name)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _unique(self, name: str) -> str:
        base = name or "tensor"
        count = self._names.get(base, 0)
        self._names[base] = count + 1
        return base if count == 0 else self._unique(f"{base}_{count}")


@dataclass
class Module:
    """All subgraphs (0 is the model) and the names that callers use: signature name -> tensor."""

    subgraphs: list[Subgraph] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    description: str = ""

    def counts(self) -> dict[str, int]:
        """Operators by name, over all subgraphs."""
        found: dict[str, int] = {}
        for subgraph in self.subgraphs:
            for op in subgraph.ops:
                found[op.code] = found.get(op.code, 0) + 1
        return found


_SHARED = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"),
        "ReducerOptions",
    ),
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "MULTINOMIAL": "RandomOptions",
}


@cache
def _tables() -> dict[str, str]:
    kinds: Sequence[Any] = [*BuiltinOptions, *BuiltinOptions2]
    return {kind.name.lower(): kind.name for kind in kinds if kind.name != "NONE"}


@cache
def options_table(code: str) -> str | None:
    """Name of the options table of operator `code`, None where it has none."""
    shared = _SHARED.get(code)
    return shared or _tables().get(re.sub("_", "", code).lower() + "options")
