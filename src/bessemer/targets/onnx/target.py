"""ONNX files at a chosen opset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bessemer.ir.model import Model
from bessemer.ir.signature import TensorSpec
from bessemer.targets.base import Artifact, Border, Prepared

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


class OnnxOptions(BaseModel):
    """Options of the `onnx` target."""

    model_config = ConfigDict(extra="forbid")

    precision: Literal["float32"] = "float32"
    external_data: Literal["auto", "always", "never"] = Field("auto", description="auto: above 1.5 GB")


class OnnxTarget:
    """See `Target`."""

    options = OnnxOptions

    def prepare(self, model: Model, options: OnnxOptions) -> Prepared:
        """The graph as it will be written."""
        from bessemer.passes.stats import operator_counts

        signature = model.signature
        values = {
            value.name: Border(value.name, "")
            for node in model.graph.graph
            for value in node.outputs
            if value.name
        }
        return Prepared(
            payload=(model.graph, options.external_data),
            precision=options.precision,
            closeness="close(1e-4, 1e-5)",
            inputs=_borders(signature.inputs),
            outputs=_borders(signature.outputs),
            operators=operator_counts(model.graph),
            notes=list(model.notes),
            values=values,
        )

    def write(self, prepared: Prepared, out: Path, stem: str) -> Artifact:
        """One .onnx, and its weights beside it where they are many."""
        import onnx_ir

        graph, external = prepared.payload
        path = out / f"{stem}.onnx"
        size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
        if external == "always" or (external == "auto" and size > 1_500_000_000):
            onnx_ir.save(graph, path, external_data=f"{stem}.onnx.data")
            return Artifact("onnx", path, (path, out / f"{stem}.onnx.data"))
        onnx_ir.save(graph, path)
        return Artifact("onnx", path, (path,))

    def runner(self, artifact: Path) -> Runner:
        """ONNX Runtime, executing the file as it is written; the reference evaluator where it has no kernel."""
        from bessemer.runners.onnx_reference import StandardRunner

        return StandardRunner(artifact)


def _borders(specs: tuple[TensorSpec, ...]) -> dict[str, Border]:
    return {spec.name: Border(spec.name, spec.dtype) for spec in specs}


TARGET: Any = OnnxTarget()
