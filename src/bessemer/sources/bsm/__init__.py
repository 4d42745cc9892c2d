"""`.bsm`: a model between two stages of the road, saved by `--stop-after`; opening it goes on from there.

A zip of stored entries: the graph as ONNX, its weights (mapped where they lie), and what ONNX cannot hold.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import SIZES_KEY
from bessemer.ir.cut import Cut, Tap, Taps
from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin, Past
from bessemer.sources.base import OpenOptions
from bessemer.sources.bsm.records import FACTS, GRAPH, STATE, WEIGHTS, State
from bessemer.workspace import fingerprint

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.encoding import Encoding
    from bessemer.runners.base import Runner
    from bessemer.sources.bsm.records import EncodingRecord, ValueRecord

LARGEST_STATE = 1 << 28
LOCAL_HEADER = 30


class BsmSource:
    """Reads .bsm; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """The model at the stage where it was saved. Raises UnreadableInput for broken or hostile files."""
        from bessemer.passes.base import PassRecord

        state, graph = read(path)
        original = state.original
        if options.signature not in (None, original.signature):
            raise UsageError(f"--signature was settled when {path} was made: {original.signature or 'the first one'}")
        if options.task not in (None, original.task):
            raise UsageError(f"--task was settled when {path} was made: {original.task or 'the inferred one'}")
        details = {**original.details, "archive": f"{path.name}, after {state.stage}"}
        passes = tuple(PassRecord(**record.model_dump()) for record in state.passes)
        past = Past(state.stage, dict(state.operators), passes, state.quantized)
        origin = Origin(original.format, path, details)
        return Model(graph, origin, list(state.notes), past, _cut(path, state), _companions(path, state))

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The original that the archive was made from, in its own runtime."""
        from bessemer.sources.sniff import identify

        state, _ = _contents(path)
        original = _original(path, state)
        said = replace(state.original.opening, original=options.original)
        return identify(original).load().runner(original, said)


def _companions(path: Path, state: State) -> tuple[Path, ...]:
    """What a model directory has that goes along with artifacts; its weights may be gone."""
    from bessemer.sources.huggingface.directory import companions_of

    directory = path.parent / state.original.path
    return companions_of(directory) if directory.is_dir() else ()


def part(path: Path, options: OpenOptions, tensors: Sequence[str]) -> Runner:
    """The original without what `tensors` do not need. Raises RuntimeRefused, also where its format has no such way."""
    from bessemer.ir.errors import RuntimeRefused
    from bessemer.sources.sniff import identify

    state, _ = _contents(path)
    original = _original(path, state)
    runner = identify(original).part_runner(original, state.original.opening, tensors)
    if runner is None:
        raise RuntimeRefused(f"{original.name} cannot be run in part")
    return runner


def _cut(path: Path, state: State) -> Cut | None:
    """What part of the original the archive holds; the whole is read again where somebody asks for it."""
    held = state.cut
    if held is None:
        return None
    sides = ([Tap(tap.name, tap.tensor) for tap in side] for side in (held.inputs, held.outputs))
    inputs, outputs = map(tuple, sides)
    return Cut(Taps(inputs, outputs, held.nodes, held.of), partial(_whole, path, state))


def _whole(path: Path, state: State) -> Model:
    from bessemer.ir.unread import Unread
    from bessemer.passes.shapes import BindShapes, InferShapes
    from bessemer.sources.sniff import identify

    original = _original(path, state)
    try:
        whole = identify(original).load().open(original, state.original.opening)
    except Unread as refusal:
        whole = refusal.model
    if state.cut is not None and state.cut.shapes:
        BindShapes(dict(state.cut.shapes)).run(whole.graph)
        InferShapes().run(whole.graph)
    return whole


def read(path: Path) -> tuple[State, onnx_ir.Model]:
    """State and graph of an archive."""
    import onnx_ir

    state, proto = _contents(path)
    try:
        graph = onnx_ir.serde.deserialize_model(proto)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise UnreadableInput(f"{path} holds no consistent graph", why=str(error)[:300]) from None
    onnx_ir.external_data.set_base_dir(graph.graph, path.parent)
    if not state.external:
        _forget_files(graph)
    try:
        _restore(graph, state)
        graph.graph.meta.update({key: value for key, value in state.facts.items() if key in FACTS})
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise _broken(path, STATE, str(error)[:300]) from None
    return state, graph


def _contents(path: Path) -> tuple[State, Any]:
    """State and ModelProto, the constants pointing into the archive itself."""
    import onnx
    from google.protobuf.message import DecodeError
    from pydantic import ValidationError

    from bessemer.sources.onnx.guard import check_proto, check_wire

    try:
        with zipfile.ZipFile(path) as archive:
            entries = {item.filename: item for item in archive.infolist()}
            _check_entries(entries, path)
            state = State.model_validate_json(archive.read(STATE))
            data = archive.read(GRAPH)
        check_wire(data, path)
        proto = onnx.ModelProto()
        proto.ParseFromString(data)
        _point_into(proto, path, entries.get(WEIGHTS))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, DecodeError, ValidationError, ValueError) as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error).partition("\n")[0][:300]) from None
    check_proto(proto, path)
    return state, proto


def _check_entries(entries: dict[str, zipfile.ZipInfo], path: Path) -> None:
    """Only ours, only stored: nothing unpacks to more than the file's own size."""
    known = {STATE, GRAPH, WEIGHTS}
    if not {STATE, GRAPH} <= entries.keys() <= known:
        raise UnreadableInput(f"{path} is no model of Bessemer", why=f"it holds {', '.join(sorted(entries))[:200]}")
    total = path.stat().st_size
    for entry in entries.values():
        plain = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
        if not plain or entry.flag_bits & 1:
            raise _broken(path, entry.filename, "the entry is not stored plainly")
        if entry.file_size > total:
            raise _broken(path, entry.filename, "it is larger than the file")
    if entries[STATE].file_size > LARGEST_STATE:
        raise _broken(path, STATE, f"it has over {LARGEST_STATE} bytes")


def _broken(path: Path, where: str, why: str) -> UnreadableInput:
    return UnreadableInput(f"{path} is broken or hostile", where=where, why=why)


def _point_into(proto: Any, path: Path, weights: zipfile.ZipInfo | None) -> None:
    """Constants kept in weights.bin get the place where that lies in the archive."""
    from bessemer.sources.onnx.structure import all_graphs

    start = _data_offset(path, weights) if weights is not None else 0
    for tensor in (tensor for graph in all_graphs(proto.graph, path) for tensor in graph.initializer):
        if tensor.data_location != 1:
            continue
        entries = {item.key: item.value for item in tensor.external_data}
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        end = weights.file_size if weights is not None and entries.get("location") == WEIGHTS else -1
        if offset < 0 or not 0 <= length <= end - offset:
            raise ValueError(f"the constant '{tensor.name}' lies outside {WEIGHTS}")
        del tensor.external_data[:]
        for key, value in (("location", path.name), ("offset", start + offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """First byte of an entry's data: behind its local header, name and extra field."""
    with path.open("rb") as stream:
        stream.seek(entry.header_offset)
        head = stream.read(LOCAL_HEADER)
    return entry.header_offset + LOCAL_HEADER + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")


def _forget_files(graph: onnx_ir.Model) -> None:
    """Constants stay mapped, but no target shall think that the source kept them in files of their own."""
    import onnx_ir

    for part in graph.graphs():
        for value in part.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, onnx_ir.ExternalTensor):
                value.const_value = _lazy(tensor)


def _lazy(tensor: onnx_ir.ExternalTensor) -> onnx_ir.LazyTensor:
    import onnx_ir

    return onnx_ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=tensor.shape, name=tensor.name)


def _restore(graph: onnx_ir.Model, state: State) -> None:
    from bessemer.sources.bsm.order import values_of

    values, nodes = list(values_of(graph)), list(graph.graph.all_nodes())
    for record in state.values:
        value = values[record.place]
        if value.name != record.name:
            raise ValueError(f"value {record.place} is '{value.name}', not '{record.name}'")
        _mark(value, record)
    for item in state.nodes:
        nodes[item.place].meta.update(dict.fromkeys(item.marks, True))


def _mark(value: onnx_ir.Value, record: ValueRecord) -> None:
    import onnx_ir

    from bessemer.ir.encoding import QuantizedWeight, set_encoding, set_weight

    if record.tensor is not None:
        value.meta["bessemer.tensor"] = record.tensor
    if record.sizes:
        value.meta[SIZES_KEY] = dict(record.sizes)
    if record.encoding is None:
        return
    encoding = _encoding(record.encoding)
    if not record.integers:
        set_encoding(value, encoding)
        return
    if value.const_value is None:
        raise ValueError(f"'{value.name}' is no constant")
    set_weight(value, QuantizedWeight(value.const_value.numpy(), encoding))
    value.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)


def _encoding(record: EncodingRecord) -> Encoding:
    import numpy as np

    from bessemer.ir.encoding import Encoding
    from bessemer.ir.numbers import BITS, FLOAT8, holder

    if record.dtype not in BITS and record.dtype not in FLOAT8:
        raise ValueError(f"'{record.dtype}' encodes nothing")
    scale = np.array(record.scale, np.float32).reshape(record.shape)
    zero = np.array(record.zero_point, np.int32).reshape(record.shape).astype(holder(record.dtype))
    return Encoding(record.dtype, scale, zero, record.axis, record.block_size)


def _original(path: Path, state: State) -> Path:
    """Where it was, or beside the archive; it must be the very same file."""
    said = state.original
    places = (path.parent / said.path, path.parent / Path(said.path).name)
    found = next((place for place in places if place.is_file() or place.is_dir()), None)
    if found is None:
        raise UsageError(
            f"{path} was made from {said.path}, which is not there",
            why="every artifact is executed beside its original",
            fix=f"Put it beside {path.name}",
        )
    if fingerprint(found) != (said.bytes, said.sha256):
        raise UsageError(
            f"{found} is not the file that {path} was made from", why="its size or hash differs",
            fix="Give back the original, or make the archive anew",
        )  # fmt: skip
    return found


SOURCE = BsmSource()
