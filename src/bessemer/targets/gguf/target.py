"""Checkpoints as GGUF: names and layouts from the architecture's table, types from llama.cpp's rules, bytes streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined
from bessemer.targets.base import Artifact, PreparedWeights
from bessemer.targets.gguf.options import GgufOptions
from bessemer.weights.stream import Done, Piece, write_hashed
from bessemer.wire.gguf.values import ALIGNMENT, Kind

if TYPE_CHECKING:
    from bessemer.targets.gguf.importance import Matrix
    from bessemer.targets.gguf.mix import Plan


@dataclass(frozen=True)
class Layout:
    """A whole file but for its weights."""

    header: bytes
    pieces: tuple[Piece, ...]
    total: int


class GgufTarget:
    """See `CheckpointTarget`."""

    options = GgufOptions

    def prepare(self, checkpoint: Checkpoint, options: GgufOptions) -> PreparedWeights:
        """Metadata, names, types and places. Raises Declined for what GGUF cannot hold (architecture, tokenizer, type)."""
        metadata, tensors = contents(checkpoint)
        matrix = _matrix(options)
        plan = _plan(options, metadata, tensors, matrix)
        kinds = {} if checkpoint.records is None else checkpoint.records.kinds
        layout = _layout(_with_facts(metadata, options, plan, matrix), kinds, tensors, plan)
        return PreparedWeights(
            payload=layout,
            precision=options.precision if options.precision != "keep" else _kept(plan),
            types=dict(Counter(plan.types.values()).most_common()),
            nbytes=layout.total,
            elements=sum(tensor.size for tensor in tensors.values()),
            notes=[*_remarks(checkpoint), *plan.notes],
        )

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """One .gguf file."""
        layout: Layout = prepared.payload
        path = out / f"{stem}.gguf"
        digest = write_hashed(path, layout.header, layout.pieces, layout.total, done)
        return Artifact("gguf", path, (path,), {path: digest})


def contents(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Lazy]]:
    """Metadata and tensors in GGUF's own names, order and layout. Raises Declined."""
    if checkpoint.records is not None:
        return dict(checkpoint.records.metadata), dict(checkpoint.records.tensors)
    if checkpoint.adapter is not None:
        from bessemer.architectures.lora import to_gguf_adapter

        return to_gguf_adapter(checkpoint, checkpoint.config)
    from bessemer.architectures.base import find
    from bessemer.tokenization import to_gguf

    tokenizer = checkpoint.tokenizer
    if tokenizer is not None and not checkpoint.tensors:
        known = checkpoint.config.get("model_type") or tokenizer.kind
        return {"general.architecture": known, **checkpoint.general, **to_gguf(tokenizer)}, {}
    try:
        metadata, tensors = find(checkpoint.config).to_gguf(checkpoint)
    except Declined as refusal:  # what the tokenizer lacks is said at once
        raise Declined("gguf", [*refusal.blockers, *(tokenizer.blockers if tokenizer else ())]) from None
    held = {} if tokenizer is None else to_gguf(tokenizer)
    return {**metadata, **checkpoint.general, **held}, tensors


def _remarks(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What the architecture's table says of this model's form in GGUF."""
    if not checkpoint.tensors or checkpoint.records is not None or checkpoint.adapter is not None:
        return ()
    from bessemer.architectures.base import find

    return find(checkpoint.config).remarks(checkpoint.config)


def _matrix(options: GgufOptions) -> Matrix | None:
    if options.importance is None:
        return None
    from bessemer.targets.gguf.importance import load

    return load(options.importance)


def _plan(
    options: GgufOptions, metadata: Mapping[str, Any], tensors: Mapping[str, Lazy], matrix: Matrix | None
) -> Plan:
    from bessemer.targets.gguf.mix import plan

    importance = None if matrix is None else matrix.importance()
    return plan(options.precision, tensors, metadata, options.overrides, importance)


def _with_facts(
    metadata: Mapping[str, Any], options: GgufOptions, plan: Plan, matrix: Matrix | None
) -> dict[str, Any]:
    """Metadata, and what the plan says of itself: at the end where llama-quantize would have put it there."""
    facts = {} if plan.file_type is None else {"general.quantization_version": 2, "general.file_type": plan.file_type}
    if matrix is not None and options.importance is not None:
        facts |= matrix.facts(options.importance.name)
    kept = {key: value for key, value in metadata.items() if not (plan.encodes and key in facts)}
    return {**kept, **facts}


def _kept(plan: Plan) -> str:
    """The type of most tensors with rows, as a precision's name."""
    return Counter(plan.types.values()).most_common(1)[0][0] if plan.types else "F32"


def _layout(
    metadata: Mapping[str, Any], kinds: Mapping[str, Kind], tensors: Mapping[str, Lazy], plan: Plan
) -> Layout:
    """kinds: types that metadata have in the file they come from. Raises Declined for what the format cannot hold."""
    from bessemer.wire.errors import WireError
    from bessemer.wire.gguf.writer import layout

    named = [(name, tensors[name].shape, kind) for name, kind in plan.types.items()]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    try:
        header, offsets, total = layout(metadata, named, alignment, kinds=kinds)
    except WireError as error:
        raise Declined("gguf", [Blocker(error.where, "file", "format", error.what)]) from None
    return Layout(header, _pieces(tensors, offsets, plan), total)


def _pieces(tensors: Mapping[str, Lazy], offsets: Sequence[int], plan: Plan) -> tuple[Piece, ...]:
    placed = zip(plan.types.items(), offsets, strict=True)
    return tuple(Piece(offset, tensors[name], kind, plan.importance.get(name)) for (name, kind), offset in placed)


TARGET = GgufTarget()
