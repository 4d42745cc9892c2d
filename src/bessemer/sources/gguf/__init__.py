"""GGUF files, which llama.cpp runs. An architecture with a table comes in Hugging Face's form, every other one as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined
from bessemer.ir.model import Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.weight_files import WeightFiles

if TYPE_CHECKING:
    from bessemer.sources.gguf.records import Records

GENERAL = "general."
STORAGE = ("general.architecture", "general.file_type", "general.quantization_version", "general.alignment")
"""Keys that say how a file stores a model, not what people should know of it."""


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The file's weights, settings and tokenizer, with its records beside them.

    An architecture without a table, or one that holds more than its table knows, has its own names and no settings.
    Raises UnreadableInput for a broken or hostile file, and Declined for a tokenizer that cannot be said.
    """
    from bessemer.sources.gguf.checks import check_tokenizer
    from bessemer.sources.gguf.records import records
    from bessemer.tokenization import from_gguf

    held = records(path)
    check_tokenizer(held.kinds, path)
    config, tensors, held = _translated(held)
    origin = Origin("gguf", path, _details(held))
    return Checkpoint(
        dict(tensors), config, from_gguf(held.metadata), origin,
        general={key: value for key, value in held.metadata.items() if key.startswith(GENERAL) and key not in STORAGE},
        notes=_notes(held), records=held,
    )  # fmt: skip


def _translated(held: Records) -> tuple[dict[str, Any], dict[str, Any], Records]:
    from bessemer.architectures.base import find_gguf

    try:
        config, tensors = find_gguf(held.metadata).from_gguf(held.metadata, held.tensors)
    except Declined as error:
        return {}, dict(held.tensors), held.refused(error)
    return config, tensors, held


def _notes(held: Records) -> list[str]:
    if held.refusal is None:
        return []
    reasons = "; ".join(blocker.line() for blocker in held.refusal.blockers[:3])
    return [f"It has no form in Hugging Face's names, and can be written to GGUF alone: {reasons}"]


def _details(held: Records) -> dict[str, Any]:
    found = {
        "version": held.version,
        "architecture": str(held.metadata.get("general.architecture", "")),
        "types": held.types,
        "byte order": "big endian" if held.big_endian else "little endian",
    }
    return {**found, "parts": [part.name for part in held.paths]} if held.paths[1:] else found


SOURCE = WeightFiles("gguf", checkpoint)
