"""A directory with pytorch_model.bin (one zip archive, as torch.save writes it), config.json and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.targets.base import Artifact, PreparedWeights
from bessemer.targets.plain_weights import PlainOptions, Plan, planned, write_beside
from bessemer.targets.zipped_weights import Archive, Content, write
from bessemer.targets.zipped_weights import planned as placed
from bessemer.weights.stream import Done
from bessemer.weights.views import NUMPY
from bessemer.wire.torchzip.writer import pickled

LEAD = "pytorch_model/"
VERSION = b"3\n"
"""Of the archive: what torch.save has written since 1.6."""


@dataclass(frozen=True)
class File:
    """The archive and what goes beside it."""

    plan: Plan
    archive: Archive


class PytorchTarget:
    """See `CheckpointTarget`."""

    options = PlainOptions

    def prepare(self, checkpoint: Checkpoint, options: PlainOptions) -> PreparedWeights:
        """Types and places. Raises Declined as `planned` does."""
        plan, notes = planned(checkpoint, options.precision, NUMPY, "pytorch")
        archive = placed(_contents(plan.tensors))
        return plan.prepared(File(plan, archive), options.precision, archive.total, notes)

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """The directory `STEM-pytorch`."""
        file: File = prepared.payload
        folder = out / f"{stem}-pytorch"
        folder.mkdir()
        path = folder / ("adapter_model.bin" if file.plan.checkpoint.adapter else "pytorch_model.bin")
        write(path, file.archive, done)
        return Artifact("pytorch", folder, (path, *write_beside(file.plan, folder)))


def _contents(tensors: tuple[Lazy, ...]) -> list[Content]:
    program = pickled([(tensor.name, NUMPY[tensor.type], tensor.shape) for tensor in tensors])
    storages = [Content(f"{LEAD}data/{place}", b"", tensor) for place, tensor in enumerate(tensors)]
    return [
        Content(f"{LEAD}data.pkl", program), Content(f"{LEAD}byteorder", b"little"), *storages,
        Content(f"{LEAD}version", VERSION),
    ]  # fmt: skip


TARGET = PytorchTarget()
