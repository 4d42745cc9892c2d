"""What a runner is: something that executes a model file in a real runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bessemer.ir.signature import Signature
from bessemer.ir.types import Array


class Runner(Protocol):
    """Executes one model. `runtime` names the runtime and its version ('ONNX Runtime 1.31.1')."""

    @property
    def runtime(self) -> str:
        """Name and version of what executes."""
        ...

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the runtime sees them."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, in signature order. Raises UsageError for inputs that do not fit."""
        ...

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values by name; names that cannot be tapped are absent from the answer."""
        ...
