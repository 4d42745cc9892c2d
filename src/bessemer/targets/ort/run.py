"""An artifact in ONNX Runtime, without further optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.targets.graph_run import wants_integer_kernels

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.base import Runner


def runner(artifact: Path) -> Runner:
    """The file; raises MissingExtra."""
    from bessemer.runners.onnxruntime import OrtRunner

    class FlatbufferRunner(OrtRunner):
        """A .ort file has no graph that could be given more outputs."""

        def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
            """Nothing can be tapped."""
            return {}

    if artifact.suffix == ".ort":
        return FlatbufferRunner(artifact)
    return OrtRunner(artifact, optimize=wants_integer_kernels(artifact))
