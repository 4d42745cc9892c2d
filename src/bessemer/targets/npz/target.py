"""A directory with model.npz, which numpy.load reads, config.json and tokenizer.

numpy has neither bfloat16 nor float8: such weights are stored as float32, which holds each of their values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined
from bessemer.targets.base import Artifact, PreparedWeights
from bessemer.targets.plain_weights import PlainOptions, Plan, planned, stem_of, write_beside
from bessemer.targets.zipped_weights import Archive, Content, write
from bessemer.targets.zipped_weights import planned as placed
from bessemer.weights.stream import Done
from bessemer.wire.npz import head

DESCR = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "|u1",
    "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "|b1", "C64": "<c8",
}  # fmt: skip


class NpzOptions(PlainOptions):
    """precision: as of the other plain formats, without bfloat16, which numpy does not have."""

    precision: Literal["keep", "float32", "float16"] = "keep"


@dataclass(frozen=True)
class File:
    """The archive and what goes beside it."""

    plan: Plan
    archive: Archive


class NpzTarget:
    """See `CheckpointTarget`."""

    options = NpzOptions

    def prepare(self, checkpoint: Checkpoint, options: NpzOptions) -> PreparedWeights:
        """Types and places. Raises Declined as `planned` does, and for names that are no names of members."""
        plan, notes = planned(checkpoint, options.precision, DESCR, "npz")
        unnamed = [tensor.name for tensor in plan.tensors if not _nameable(tensor.name)]
        if unnamed:
            reason = "numpy would not find it again by this name"
            raise Declined("npz", [Blocker(name, "tensor", "name", reason) for name in unnamed])
        archive = placed([_content(tensor) for tensor in plan.tensors])
        return plan.prepared(File(plan, archive), options.precision, archive.total, notes)

    def write(self, prepared: PreparedWeights, out: Path, stem: str, done: Done | None = None) -> Artifact:
        """The directory `STEM-npz`."""
        file: File = prepared.payload
        folder = out / f"{stem}-npz"
        folder.mkdir()
        path = folder / f"{stem_of(file.plan)}.npz"
        write(path, file.archive, done)
        return Artifact("npz", folder, (path, *write_beside(file.plan, folder)))


def _nameable(name: str) -> bool:
    return bool(name) and not name.endswith(".npy") and "\0" not in name


def _content(tensor: Lazy) -> Content:
    return Content(f"{tensor.name}.npy", head(DESCR[tensor.type], tensor.shape), tensor)


TARGET = NpzTarget()
