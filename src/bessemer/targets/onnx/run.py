"""An artifact in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.targets.graph_run import beside, wants_integer_kernels

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


def runner(artifact: Path) -> Runner:
    """ONNX Runtime, the file as it is written; the reference evaluator where it has no kernel.

    A file made from integer operators runs optimised: that joins Q/DQ pairs into integer kernels.
    """
    from bessemer.runners.onnx_reference import StandardRunner

    return StandardRunner(artifact, optimize=wants_integer_kernels(artifact), beside=beside(artifact))
