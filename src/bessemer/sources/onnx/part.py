"""An ONNX file without what a part of it does not need, in ONNX Runtime: for files that it refuses as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bessemer.runners.onnxruntime import OrtRunner
from bessemer.sources.base import OpenOptions


def runner(path: Path, options: OpenOptions, tensors: Sequence[str]) -> OrtRunner:
    """The file, ending at `tensors`. Raises RuntimeRefused."""
    from bessemer.sources.onnx import load_proto

    made = {name for node in load_proto(path).graph.node for name in node.output}
    found = OrtRunner(path, only=[name for name in tensors if name in made])
    found.runtime += ", up to the cut"
    return found
