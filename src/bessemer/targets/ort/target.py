"""Graphs optimised offline by ONNX Runtime, as .onnx or .ort."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.model import Model
from bessemer.targets.base import Artifact, Prepared
from bessemer.targets.graph_file import (
    LARGE,
    GraphOptions,
    Lowered,
    constant_bytes,
    describe,
    integer_form,
    keeps_external,
    lower,
    widen_blocks,
    write_graph,
)

if TYPE_CHECKING:
    from bessemer.passes.base import Pass
    from bessemer.runners.base import Runner

PACKED = ("INT2", "UINT2", "INT4", "UINT4")
LIMIT = 600
"""Seconds that the runtime may take to optimise a model."""


class OrtOptions(GraphOptions):
    """Options of the `ort` target."""

    precision: Literal["float32", "float16", "int8", "int16x8", "int4", "int8-weights", "int8-dynamic"] = "float32"
    blocks: Literal["nbits", "qdq"] = Field(
        "nbits", description="weights in blocks as MatMulNBits nodes, or in the standard's words"
    )
    accuracy_level: int = Field(
        0, ge=0, le=4, description="what MatMulNBits may compute in: 0 as its input, 1 float32, 4 int8 (faster)"
    )
    level: Literal["basic", "extended", "layout", "all"] = Field(
        "extended",
        description="ONNX Runtime's optimisation level; layout and all fit the file to this machine's CPU",
    )
    format: Literal["onnx", "ort"] = Field("onnx", description="ort: the runtime's own flatbuffer")


@dataclass(frozen=True)
class Compiled:
    """Files that the runtime wrote into a folder that lives as long as this object."""

    folder: tempfile.TemporaryDirectory[str]
    main: Path
    beside: tuple[Path, ...]


class OrtTarget:
    """See `Target`."""

    options = OrtOptions

    def prepare(self, model: Model, options: OrtOptions) -> Prepared:
        """Lower, let the runtime optimise in a child process, and read back what it made."""
        from bessemer.passes.half import half_kind

        half = half_kind(model.graph.graph) if options.precision == "float32" else ""
        if options.weights == "float32":
            widen_blocks(model.graph)
        lowered = lower(model, options.model_copy(update={"weights": "float32"}), "ort", _spelling(options))
        _refuse_packed_borders(lowered)
        compiled = _compile(lowered, options)
        prepared = describe(lowered, options, compiled)
        _describe_result(prepared, compiled)
        if options.precision == "float32":
            prepared.closeness += " or snr(40)" if lowered.quantized and lowered.origin != "tflite" else ""
        if half:
            prepared.notes.append(f"weights that the source stores as {half} are float32: the optimiser folds constants")
        if options.level in ("layout", "all"):
            prepared.notes.append(f"level {options.level} fits the file to the CPU it was made on")
        return prepared

    def write(self, prepared: Prepared, out: Path, stem: str) -> Artifact:
        """Copy the optimised file into place; external weights keep the name that the graph gives them."""
        compiled: Compiled = prepared.payload
        path = out / f"{stem}.ort{compiled.main.suffix if compiled.main.suffix != '.ort' else ''}"
        shutil.copyfile(compiled.main, path)
        beside = tuple(Path(shutil.copyfile(file, out / file.name)) for file in compiled.beside)
        return Artifact("ort", path, (path, *beside))

    def runner(self, artifact: Path) -> Runner:
        """See `run`."""
        from bessemer.targets.ort.run import runner

        return runner(artifact)

    def original(self, path: Path) -> Runner:
        """An ONNX file that nobody converted, as ONNX Runtime's users run it."""
        from bessemer.runners.onnxruntime import OrtRunner

        return OrtRunner(path, optimize=True)


def _spelling(options: OrtOptions) -> list[Pass]:
    """Encodings in the runtime's own operators."""
    from bessemer.passes.dynamic_lstm import DynamicLstm
    from bessemer.passes.matmul_nbits import MatMulNBits

    spelling: list[Pass] = [DynamicLstm()] if options.precision == "int8-dynamic" else []
    spelling += [MatMulNBits(options.accuracy_level)] if options.blocks == "nbits" else []
    return [*spelling, *integer_form(options, contrib=True)]


def _refuse_packed_borders(lowered: Lowered) -> None:
    """Two and four bits at the border: nobody could feed or read the file from Python, nor verify it."""
    graph = lowered.graph.graph
    borders = [(value, "input") for value in graph.inputs] + [(value, "output") for value in graph.outputs]
    blockers = [
        Blocker(
            value.name or "", what, "packed-border",
            f"ONNX Runtime's Python interface passes no {value.dtype.name}",
            rewrite="an INT8 or UINT8 border and a Cast",
        )
        for value, what in borders
        if value.dtype is not None and value.dtype.name in PACKED and value.name not in graph.initializers
    ]  # fmt: skip
    if blockers:
        raise Declined("ort", blockers)


def _compile(lowered: Lowered, options: OrtOptions) -> Compiled:
    """Raises Declined with every node that the runtime has no kernel for."""
    folder = tempfile.TemporaryDirectory(prefix="bessemer-ort-")
    here = Path(folder.name)
    source, result = here / "source.onnx", here / "optimized.onnx"
    beside = options.format == "onnx" and _is_beside(lowered, options)  # else its weights would stay in our workspace
    write_graph(lowered.graph, source, "always" if beside else "auto" if options.format == "ort" else "never")
    narrow = "" if options.precision == "float32" else f"_{options.precision}"
    external = f"{_safe(lowered)}{narrow}.ort.data" if beside else ""
    flat = str(here / "optimized.ort") if options.format == "ort" else ""
    request = {
        "source": str(source),
        "optimized": str(result),
        "level": options.level,
        "external": external,
        "ort": flat,
        "accuracy": str(options.accuracy_level),
    }
    answer = _ask(here, request)
    if answer["error"]:
        folder.cleanup()
        raise Declined("ort", _blockers(answer))
    data = (here / external,) if external and (here / external).exists() else ()
    return Compiled(folder, Path(flat) if flat else result, data)


def _is_beside(lowered: Lowered, options: OrtOptions) -> bool:
    """Whether weights are written beside the graph; those that the runtime was given so stay so."""
    if options.external_data != "auto":
        return options.external_data == "always"
    return constant_bytes(lowered.graph) > LARGE or keeps_external(lowered.graph)


def _safe(lowered: Lowered) -> str:
    return re.sub(r"\W+", "_", lowered.graph.graph.name or "model")[:60]


def _ask(here: Path, request: dict[str, str]) -> dict[str, Any]:
    file = here / "request.json"
    file.write_text(json.dumps(request))
    command = [sys.executable, "-m", "bessemer.targets.ort.compiler", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"ONNX Runtime did not finish optimising within {LIMIT} s", "nodes": []}
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode != 0 or not lines:
        return {"error": f"ONNX Runtime died while optimising (code {done.returncode})", "nodes": []}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _blockers(answer: dict[str, Any]) -> list[Blocker]:
    nodes = answer["nodes"]
    if nodes:
        return [
            Blocker(item["node"], item["op"], "no-kernel", _reason(item["reason"]), item["layer"])
            for item in nodes
        ]
    message = answer["error"]
    found = re.search(r"[Nn]ode(?: \(| name: ?'?|:? ?\"?)\(?\"?([^\"',() ]+)", message)
    return [Blocker(found.group(1) if found else "", "", "runtime", _reason(message))]


def _reason(message: str) -> str:
    """The runtime's sentence without its prefix and without paths of our workspace."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    return f"ONNX Runtime: {re.sub(r'/[^ ]*/', '', text)}"


def _describe_result(prepared: Prepared, compiled: Compiled) -> None:
    """Operator counts and tappable values of the optimised graph."""
    from collections import Counter

    import onnx

    proto = onnx.load(compiled.main.with_suffix(".onnx"), load_external_data=False)
    nodes = [node for node in proto.graph.node if node.op_type != "Constant"]
    domains = ("", "ai.onnx")
    counts = Counter(n.op_type if n.domain in domains else f"{n.domain}.{n.op_type}" for n in nodes)
    prepared.operators = dict(sorted(counts.items()))
    made = {name for node in nodes for name in node.output}
    prepared.values = {name: border for name, border in prepared.values.items() if border.name in made}


TARGET = OrtTarget()
