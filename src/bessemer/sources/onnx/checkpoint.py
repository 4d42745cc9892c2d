"""Language models in ONNX files as checkpoints: weights recognised in the graph, settings from it and from a config.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.model import Model
from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.sources.base import OpenOptions

CONFIG = "config.json"
TOKENS = 12
"""Of the text that the file and what was recognised in it are compared on."""
NEAR = 60.0
"""dB between their logits."""


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The weights in the file. Settings: those that `options.config` says, else a config.json beside the file, else what
    the graph tells. What was recognised is run beside the file itself: other logits are a refusal.

    Raises UnreadableInput, UsageError naming settings that nobody knows, and Declined.
    """
    from bessemer.passes.recognise.checkpoint import checkpoint_of

    file, said = path, _said(path, options)
    found = checkpoint_of(_canonical(file), said)
    _prove(found, file)
    return replace(found, tokenizer=_tokenizer(path.parent, found.config))


def _canonical(path: Path) -> Model:
    from bessemer.passes.base import run_passes
    from bessemer.passes.standard import standard_passes
    from bessemer.sources.onnx import SOURCE

    model = SOURCE.open(path, OpenOptions())
    run_passes(model.graph, standard_passes({}))
    return model


def _said(path: Path, options: OpenOptions) -> dict[str, Any] | None:
    from bessemer.sources.huggingface.directory import read_json

    place = options.config or path.parent / CONFIG
    if options.config is None and not place.is_file():
        return None
    return read_json(place.parent, place.name)


def _tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    from bessemer.tokenization import from_directory

    return from_directory(folder, config)


def _prove(found: Checkpoint, path: Path) -> None:
    """Raises Declined where the decoder that was recognised answers otherwise than the file."""
    from bessemer.runners.decoder.runner import DecoderRunner
    from bessemer.sources.decoder.model import known
    from bessemer.sources.onnx import SOURCE

    held = known(found)
    ids = np.random.default_rng(0).integers(0, held.decoder.vocabulary, TOKENS)
    wanted = _logits(SOURCE.runner(path, OpenOptions()), ids)
    got = DecoderRunner(held.decoder, held.roles).logits(ids)
    if wanted.shape != got.shape:
        wanted = wanted[: len(got)] if wanted.shape[1:] == got.shape[1:] else got * np.nan
    noise = float(np.square(got - wanted).sum() / max(float(np.square(wanted).sum()), 1e-30))
    if not noise <= 10 ** (-NEAR / 10):
        reason = f"a decoder of '{held.family.name}' with the weights found answers otherwise than the file does"
        blocker = Blocker("", "graph", "unproven", reason, rewrite="--config with the settings that the model was made with")
        raise Declined("Recognising the weights of a decoder", [blocker])


def _logits(runner: Runner, ids: Array) -> Array:
    """Of one text, [tokens, vocabulary]."""
    count = len(ids)
    known: dict[str, Array] = {"position": np.arange(count)[None], "mask": np.ones((1, count), np.int64), "ids": ids[None]}
    feeds = {}
    for spec in runner.signature.inputs:
        if len(spec.shape) == 4:
            sizes = [1 if place == 0 else 0 if place == 2 else dim for place, dim in enumerate(spec.shape)]
            feeds[spec.name] = np.zeros([dim if isinstance(dim, int) else 0 for dim in sizes], spec.dtype)
        else:
            part = next((part for part in known if part in spec.name), "ids")
            feeds[spec.name] = known[part].astype(spec.dtype)
    answer = runner.run(feeds)
    logits: Array = np.asarray(answer.get("logits", next(iter(answer.values()))), np.float32)
    first: Array = logits[0]
    return first
