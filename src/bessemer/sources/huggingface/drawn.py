"""Causal language models of known architectures as graphs without torch: drawn from the architecture's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bessemer.ir.canonical import COMPUTED_KEY
from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Blocker, Declined, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.runners.base import Runner
from bessemer.sources.base import OpenOptions
from bessemer.sources.decoder.model import TASKS, model_of, session_of
from bessemer.sources.decoder.weights import most_stored
from bessemer.sources.huggingface.directory import CONFIG, companions_of, read_json, weights_of
from bessemer.sources.huggingface.tensors import tensors_of

HEADS = ("ForCausalLM", "LMHeadModel")
"""Ends of the names of classes that generate text."""


def drawn(path: Path, options: OpenOptions) -> tuple[Model | None, str]:
    """The graph; or None and why torch has to trace it ('' where no table is concerned).

    Raises Declined and UsageError where `options.graph` asks for the table; UnreadableInput.
    """
    wanted = options.graph == "table"
    config = read_json(path, CONFIG) if options.graph != "torch" else {}
    if options.graph == "torch" or not (_generates(config, options.task) or wanted):
        return None, ""
    if wanted and options.task not in (None, *TASKS):
        raise UsageError(f"--graph table has nothing for --task {options.task}", fix=f"Choose {' or '.join(TASKS)}")
    try:
        return _drawn(path, config, options), ""
    except Declined as refusal:
        if wanted:
            raise
        return None, refusal.blockers[0].reason if refusal.blockers else str(refusal)


def reference(path: Path, options: OpenOptions) -> Runner:
    """Our own evaluator of an architecture's table. Raises Declined for models that no table of ours computes."""
    return session_of(weights_alone(path, read_json(path, CONFIG)), options.task)


def weights_alone(path: Path, config: dict[str, Any]) -> Checkpoint:
    """A directory's tensors and settings; nobody asks for its tokenizer."""
    held = weights_of(path)
    tensors = {} if held is None else tensors_of(held)
    origin = Origin("huggingface", path, {})
    return Checkpoint(tensors, config, None, origin, companions=companions_of(path))


def _drawn(path: Path, config: dict[str, Any], options: OpenOptions) -> Model:
    if config.get("new_decoder_architecture") and options.graph == "auto":
        why = "transformers keeps a copy of each key for every head, and the table's graph one"
        copied = Blocker("", "falcon", "kept-copies", why)
        raise Declined("the table of an architecture", [copied])
    checkpoint = weights_alone(path, config)
    kind = most_stored(checkpoint.tensors)
    checkpoint.origin.details.update(
        architecture=_architecture(config) or "?", model_type=str(config.get("model_type", "")),
        task=options.task or next(iter(TASKS)), weights=kind.lower() or "float32",
    )  # fmt: skip
    model = model_of(checkpoint, options.task, options.shapes)
    if kind:
        model.graph.graph.meta[COMPUTED_KEY] = kind
    return model


def _generates(config: dict[str, Any], task: str | None) -> bool:
    """Whether the task is one of a table's: asked for, or what the architecture is for."""
    if task is not None:
        return task in TASKS
    return _architecture(config).endswith(HEADS)


def _architecture(config: dict[str, Any]) -> str:
    """The class that the settings name first; '' where they name none."""
    classes = config.get("architectures")
    return str(classes[0]) if isinstance(classes, list) and classes else ""
