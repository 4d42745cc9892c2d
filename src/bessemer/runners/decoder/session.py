"""The reference evaluator behind the border that a decoder's graph has: what an artifact is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature
from bessemer.ir.types import Array
from bessemer.runners.decoder.arrays import Feeds
from bessemer.runners.decoder.border import border
from bessemer.runners.decoder.runner import DecoderRunner


class DecoderSession:
    """See `Runner`. past: with keys and values of earlier tokens."""

    runtime = "Bessemer's reference evaluator (numpy)"

    def __init__(self, runner: DecoderRunner, *, past: bool) -> None:
        self._runner, self._past = runner, past
        self.signature: Signature = border(runner.decoder, past=past)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UsageError for a missing input, or tokens that do not fit."""
        missing = [spec.name for spec in self.signature.inputs if spec.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        feeds = self._feeds(inputs)
        found: dict[str, Array] = {"logits": self._runner.answer(feeds)}
        for place, pair in enumerate(feeds.present or ()):
            found |= {f"present.{place}.{part}": kept for part, kept in zip(("key", "value"), pair, strict=True)}
        return found

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Nothing: values inside have no names that a graph shares."""
        return {}

    def _feeds(self, inputs: Mapping[str, Array]) -> Feeds:
        ids, kept = np.asarray(inputs["input_ids"], np.int64), np.asarray(inputs["attention_mask"]) != 0
        counted = np.broadcast_to(np.arange(kept.shape[1])[-ids.shape[1] :], ids.shape)
        feeds = Feeds(ids, np.asarray(inputs.get("position_ids", counted), np.int64), kept)
        if self._past:
            names = [f"past_key_values.{place}" for place in range(len(self._runner.decoder.layers))]
            feeds.past = [(_floats(inputs[f"{name}.key"]), _floats(inputs[f"{name}.value"])) for name in names]
            feeds.present = []
        return feeds


def _floats(array: Array) -> Array:
    return np.asarray(array, np.float32)
