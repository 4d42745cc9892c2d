"""Settings and tokenizer of a checkpoint as files that go along with every artifact."""

from __future__ import annotations

import json
import tempfile
import weakref
from pathlib import Path

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined
from bessemer.ir.model import Model


def accompany(model: Model, checkpoint: Checkpoint) -> None:
    """Write config.json and the tokenizer's files for a model whose file holds them inside. They live as long as the model.

    A tokenizer that no file of Hugging Face can say is named in the model's notes.
    """
    held = tempfile.TemporaryDirectory(prefix="bessemer-companions-")
    weakref.finalize(model, held.cleanup)
    folder = Path(held.name)
    config = folder / "config.json"
    config.write_text(json.dumps(checkpoint.config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    model.companions = tuple(sorted([config, *_words(model, checkpoint, folder)]))


def _words(model: Model, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    from bessemer.tokenization import write_files

    if checkpoint.tokenizer is None:
        return []
    try:
        return write_files(checkpoint.tokenizer, folder, checkpoint.config)
    except Declined as refusal:
        reasons = "; ".join(blocker.reason for blocker in refusal.blockers[:2])
        model.notes.append(f"Its tokenizer does not go along: {reasons}")
        return []
