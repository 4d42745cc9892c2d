"""A directory as `save_pretrained` writes it: model.safetensors, or parts with an index, config.json and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.targets.base import Artifact, PreparedWeights
from bessemer.targets.plain_weights import PlainOptions, Plan, planned, stem_of, write_beside
from bessemer.weights.stream import Done, Piece, write_hashed
from bessemer.wire.safetensors import ORDER, layout

METADATA = {"format": "pt"}
"""What transformers asks of a file."""


class SafetensorsOptions(PlainOptions):
    """shard: most bytes of a file, in GB (10^9); a larger model is split, with an index."""

    shard: float = Field(default=5.0, gt=0)


@dataclass(frozen=True)
class File:
    """One file of weights."""

    name: str
    header: bytes
    pieces: tuple[Piece, ...]
    total: int


@dataclass(frozen=True)
class Directory:
    """index: tensor -> file, where there are several."""

    plan: Plan
    files: tuple[File, ...]
    index: dict[str, str] | None


class SafetensorsTarget:
    """See `CheckpointTarget`."""

    options = SafetensorsOptions

    def prepare(self, checkpoint: Checkpoint, options: SafetensorsOptions) -> PreparedWeights:
        """Types and files. Raises Declined for weights without names of Hugging Face, and types that no file holds."""
        plan, notes = planned(checkpoint, options.precision, ORDER, "safetensors")
        parts = _parts(plan.tensors, int(options.shard * 1e9))
        names = _names(stem_of(plan), len(parts))
        files = tuple(_file(name, part) for name, part in zip(names, parts, strict=True))
        index = {tensor.name: name for name, part in zip(names, parts, strict=True) for tensor in part}
        directory = Directory(plan, files, index if parts[1:] else None)
        return plan.prepared(directory, options.precision, sum(file.total for file in files), notes)

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """The directory `STEM-safetensors`."""
        directory: Directory = prepared.payload
        folder = out / f"{stem}-safetensors"
        folder.mkdir()
        hashes = {
            folder / file.name: write_hashed(folder / file.name, file.header, file.pieces, file.total, done)
            for file in directory.files
        }
        written = [*hashes]
        if directory.index is not None:
            written.append(_write_index(directory, folder))
        return Artifact("safetensors", folder, (*written, *write_beside(directory.plan, folder)), hashes)


def _parts(tensors: Sequence[Lazy], most: int) -> list[list[Lazy]]:
    """In their order, as many as fit; at least one in each file."""
    parts: list[list[Lazy]] = [[]]
    size = 0
    for tensor in tensors:
        if parts[-1] and size + tensor.nbytes > most:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += tensor.nbytes
    return parts


def _names(stem: str, count: int) -> list[str]:
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{place:05}-of-{count:05}.safetensors" for place in range(1, count + 1)]


def _file(name: str, tensors: Sequence[Lazy]) -> File:
    header, places, total = layout([(tensor.name, tensor.type, tensor.shape) for tensor in tensors], METADATA)
    pieces = tuple(Piece(place, tensor, tensor.type) for tensor, place in zip(tensors, places, strict=True))
    return File(name, header, pieces, total)


def _write_index(directory: Directory, folder: Path) -> Path:
    path = folder / f"{stem_of(directory.plan)}.safetensors.index.json"
    total = sum(tensor.nbytes for tensor in directory.plan.tensors)
    held = {"metadata": {"total_size": total}, "weight_map": directory.index}
    path.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
    return path


TARGET = SafetensorsTarget()
