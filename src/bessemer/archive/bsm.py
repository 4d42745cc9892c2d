"""Write a model between two stages as a `.bsm` (see `sources.bsm` for the format)."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.canonical import FUSED_KEY, SIZES_KEY, WIDENED_KEY
from bessemer.ir.encoding import Encoding, encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.sources.bsm import records as r
from bessemer.workspace import fingerprint

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.passes.base import PassRecord
    from bessemer.passes.shapes import Dims

EPOCH = (1980, 1, 1, 0, 0, 0)
ALIGNMENT = 64
"""Bytes: weights.bin starts at a multiple, so that mapped constants are aligned."""
EXTERNAL = 1024
"""Constants from this many bytes on go to weights.bin."""


def save(
    model: Model,
    stage: r.Stage,
    place: Path,
    *,
    original: Path,
    home: Path,
    signature: str | None,
    task: str | None = None,
    operators: dict[str, int],
    passes: list[PassRecord],
    quantized: r.QuantizedRecord | None = None,
    shapes: Mapping[str, Dims] | None = None,
) -> None:
    """Write `model` to `place`, byte for byte the same each time.

    original: the file that verification will run, found again by its path relative to `home`, the folder where the
    archive will lie, and by its hash. operators: counts of the model as it was read. shapes: that the user gave inputs of
    the original, where the model is cut.
    Raises UsageError for a graph that protobuf cannot hold.
    """
    state = _state(model, stage, home, original, signature, operators, passes)
    asked = state.original.model_copy(update={"task": task})
    state = state.model_copy(update={"original": asked, "quantized": quantized, "cut": _cut(model, shapes or {})})
    graph = _storable(model.graph.clone())
    with tempfile.TemporaryDirectory(prefix=".bsm-", dir=place.parent) as folder:
        files = _write_graph(graph, Path(folder))
        with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, r.STATE, state.model_dump_json(indent=1).encode())
            for name in (r.GRAPH, r.WEIGHTS):
                if name in files:
                    _copy(archive, files[name], name)


def _cut(model: Model, shapes: Mapping[str, Dims]) -> r.CutRecord | None:
    if model.cut is None:
        return None
    taps = model.cut.taps
    sides = (tuple(r.TapRecord(name=tap.name, tensor=tap.tensor) for tap in side) for side in (taps.inputs, taps.outputs))
    inputs, outputs = sides
    given = {spec.name for spec in model.cut.whole.signature.inputs}
    bound = {name: dims for name, dims in shapes.items() if name in given}
    return r.CutRecord(inputs=inputs, outputs=outputs, nodes=taps.nodes, of=taps.of, shapes=bound)


def _write_graph(graph: onnx_ir.Model, folder: Path) -> dict[str, Path]:
    import onnx_ir

    file = folder / r.GRAPH
    try:
        onnx_ir.save(graph, file, external_data=r.WEIGHTS, size_threshold_bytes=EXTERNAL, max_workers=1)
    except ValueError as error:  # protobuf's own limit
        raise UsageError("The graph itself is larger than protobuf's 2 GiB", why=str(error)) from None
    return {name: folder / name for name in (r.GRAPH, r.WEIGHTS) if (folder / name).exists()}


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, EPOCH), data)


def _copy(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    """In pieces, with an extra field that aligns the data (padding tag 0xD935, as Android's zipalign writes)."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.file_size = file.stat().st_size
    stream = archive.fp
    start = (0 if stream is None else stream.tell()) + 30 + len(name) + (20 if entry.file_size > 1 << 31 else 0)
    gap = -(start + 4) % ALIGNMENT
    entry.extra = (0xD935).to_bytes(2, "little") + gap.to_bytes(2, "little") + b"\0" * gap
    with file.open("rb") as source, archive.open(entry, "w", force_zip64=entry.file_size > 1 << 31) as sink:
        while piece := source.read(1 << 20):
            sink.write(piece)


def _storable(graph: onnx_ir.Model) -> onnx_ir.Model:
    """Quantized constants as their integers: a quarter of their real values, and exact."""
    import onnx_ir

    for part in graph.graphs():
        for value in part.initializers.values():
            weight = weight_of(value)
            if weight is not None:
                tensor = onnx_ir.tensor(weight.integers, name=value.name)
                value.const_value = tensor
                value.type = onnx_ir.TensorType(tensor.dtype)
    return graph


def _state(
    model: Model,
    stage: r.Stage,
    home: Path,
    original: Path,
    signature: str | None,
    operators: dict[str, int],
    passes: list[PassRecord],
) -> r.State:
    from bessemer.sources.bsm.order import values_of

    size, digest = fingerprint(original)
    values = [_value(number, value) for number, value in enumerate(values_of(model.graph))]
    nodes = [
        r.NodeRecord(place=number, marks=tuple(key for key in (FUSED_KEY, WIDENED_KEY) if key in node.meta))
        for number, node in enumerate(model.graph.graph.all_nodes())
    ]
    return r.State(
        bessemer=version("bessemer"),
        stage=stage,
        original=r.OriginalRecord(
            path=Path(os.path.relpath(original.resolve(), home.resolve())).as_posix(),
            format=model.origin.format,
            bytes=size,
            sha256=digest,
            signature=signature,
            details={key: str(value) for key, value in model.origin.details.items()},
        ),
        external=_keeps_external(model.graph),
        facts={key: str(model.graph.graph.meta[key]) for key in r.FACTS if key in model.graph.graph.meta},
        notes=tuple(model.notes),
        operators=operators,
        # how long a pass took is left out: the same model gives the same bytes
        passes=tuple(
            r.PassRecord(name=p.name, options=p.options, changed=p.changed, seconds=0.0, declined=tuple(p.declined))
            for p in passes
        ),
        values=tuple(value for value in values if value is not None),
        nodes=tuple(node for node in nodes if node.marks),
    )


def _keeps_external(graph: onnx_ir.Model) -> bool:
    import onnx_ir

    held = (value.const_value for part in graph.graphs() for value in part.initializers.values())
    return any(isinstance(tensor, onnx_ir.ExternalTensor) for tensor in held)


def _value(place: int, value: onnx_ir.Value) -> r.ValueRecord | None:
    weight, encoding = weight_of(value), encoding_of(value)
    tensor = value.meta.get("bessemer.tensor")
    sizes = value.meta.get(SIZES_KEY) or {}
    held = weight.encoding if weight is not None else encoding
    if tensor is None and held is None and not sizes:
        return None
    return r.ValueRecord(
        place=place,
        name=value.name or "",
        tensor=None if tensor is None else (tensor[0], tuple(tensor[1])),
        encoding=None if held is None else _encoding(held),
        integers=weight is not None,
        sizes=sizes,
    )


def _encoding(encoding: Encoding) -> r.EncodingRecord:
    return r.EncodingRecord(
        dtype=encoding.dtype,
        shape=encoding.scale.shape,
        scale=tuple(map(float, encoding.scale.reshape(-1))),
        zero_point=tuple(map(int, encoding.zero_point.reshape(-1))),
        axis=encoding.axis,
        block_size=encoding.block_size,
    )
