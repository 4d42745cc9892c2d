"""ONNX files at a chosen opset and precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.model import Model
from bessemer.targets.base import Artifact, Prepared
from bessemer.targets.graph_file import GraphOptions, describe, integer_form, lower, widen_blocks, write_graph

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


class OnnxOptions(GraphOptions):
    """Options of the `onnx` target."""


class OnnxTarget:
    """See `Target`."""

    options = OnnxOptions

    def prepare(self, model: Model, options: OnnxOptions) -> Prepared:
        """The graph as it will be written."""
        if options.weights == "float32":
            widen_blocks(model.graph)
        lowered = lower(model, options, "onnx", integer_form(options, contrib=False))
        return describe(lowered, options, (lowered.graph, options.external_data))

    def write(self, prepared: Prepared, out: Path, stem: str) -> Artifact:
        """One .onnx, and its weights beside it where they are many."""
        graph, external = prepared.payload
        path = out / f"{stem}.onnx"
        return Artifact("onnx", path, write_graph(graph, path, external))

    def runner(self, artifact: Path) -> Runner:
        """See `run`."""
        from bessemer.targets.onnx.run import runner

        return runner(artifact)


TARGET = OnnxTarget()
