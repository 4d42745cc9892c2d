"""GGUF files, which llama.cpp runs. An architecture with a table comes in Hugging Face's form, every other one as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.checkpoint import Adapter, Checkpoint
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
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
    if held.metadata.get("general.type") == "adapter":
        return _adapter(path, held)
    check_tokenizer(held.kinds, path)
    config, tensors, held = _translated(held)
    origin = Origin("gguf", path, _details(held))
    return Checkpoint(
        dict(tensors), config, from_gguf(held.metadata), origin,
        general=_general(held),
        notes=_notes(held), records=held,
    )  # fmt: skip


def _adapter(path: Path, held: Records) -> Checkpoint:
    """A LoRA adapter by GGUF's own names; `architectures.lora.for_base` gives it PEFT's."""
    reason = "which of a model's weights its tensors belong to, and in which order of rows, follows from the model"
    refusal = Declined("PEFT's form of a GGUF adapter", [Blocker("", "adapter", "no-base", reason, rewrite="--base MODEL")])
    alpha = held.metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, int | float):
        raise UnreadableInput(f"{path} is a broken or hostile adapter", why="its adapter.lora.alpha is no number")
    return Checkpoint(
        dict(held.tensors), {}, None, Origin("gguf", path, _details(held)), general=_general(held),
        adapter=Adapter({"peft_type": "LORA", "lora_alpha": float(alpha)}), records=held.refused(refusal),
    )  # fmt: skip


def _general(held: Records) -> dict[str, Any]:
    return {key: value for key, value in held.metadata.items() if key.startswith(GENERAL) and key not in STORAGE}


def _translated(held: Records) -> tuple[dict[str, Any], dict[str, Any], Records]:
    from bessemer.architectures.base import find_gguf

    try:
        config, tensors = find_gguf(held.metadata).from_gguf(held.metadata, held.tensors)
    except Declined as error:
        return {}, dict(held.tensors), held.refused(error)
    return config, tensors, held


def _notes(held: Records) -> list[str]:
    if held.refusal is None or not held.tensors:
        return []
    reasons = "; ".join(blocker.line() for blocker in held.refusal.blockers[:3])
    return [f"It has no form in Hugging Face's names, and can be written to GGUF alone: {reasons}"]


def _details(held: Records) -> dict[str, Any]:
    found = {
        "version": held.version,
        "architecture": str(held.metadata.get("general.architecture", "")),
        "types": ", ".join(f"{kind}×{count}" for kind, count in held.types.items()),
        "byte order": "big endian" if held.big_endian else "little endian",
    }
    return {**found, "parts": [part.name for part in held.paths]} if held.paths[1:] else found


SOURCE = WeightFiles("gguf", checkpoint)
