"""Greedy generation with any runner that has the border of a causal decoder (`border`)."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature
from bessemer.ir.types import Array
from bessemer.runners.base import Runner

PAST, PRESENT = "past_key_values", "present"


def greedy(runner: Runner, tokens: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
    """`count` tokens after `tokens`, each the likeliest; fewer where one of `ends` comes, which is the last one then.

    The prompt is computed at once, then one token after another with what was kept of those before it; a model that keeps
    nothing computes all of them each time. Raises UsageError for a model that is no decoder.
    """
    inputs = {spec.name: spec for spec in runner.signature.inputs}
    if not tokens:
        raise UsageError("Tokens are generated from at least one token")
    first = prompt(runner.signature, tokens)
    kept: dict[str, Array] = {name: array for name, array in first.items() if name.startswith(PAST)}
    held, new = list(tokens), list(tokens)
    for _ in range(count):
        answer = runner.run({**_feeds(held, new if kept else held, inputs), **kept})
        new = [int(answer["logits"][0, -1].argmax())]
        held += new
        kept = {name.replace(PRESENT, PAST, 1): array for name, array in answer.items() if name.startswith(PRESENT)}
        if new[0] in ends:
            break
    return held[len(tokens) :]


def prompt(signature: Signature, tokens: Sequence[int]) -> dict[str, Array]:
    """What a model is fed for a text from its first token on, nothing kept of earlier ones. Raises UsageError."""
    inputs = {spec.name: spec for spec in signature.inputs}
    if "input_ids" not in inputs:
        raise UsageError("A language model takes 'input_ids'", where=", ".join(inputs))
    kept = {name: _empty(spec.shape) for name, spec in inputs.items() if name.startswith(PAST)}
    return {**_feeds(tokens, tokens, inputs), **kept}


def _feeds(held: Sequence[int], new: Sequence[int], inputs: Container[str]) -> dict[str, Array]:
    places = np.arange(len(held) - len(new), len(held))[None]
    found = {
        "input_ids": np.array([new], np.int64), "attention_mask": np.ones((1, len(held)), np.int64), "position_ids": places,
    }  # fmt: skip
    return {name: array for name, array in found.items() if name in inputs}


def _empty(shape: Sequence[int | str | None]) -> Array:
    """Keys or values of no tokens."""
    return np.zeros((1, _size(shape[1]), 0, _size(shape[3])), np.float32)


def _size(dim: int | str | None) -> int:
    if not isinstance(dim, int):
        raise UsageError("What a model keeps of earlier tokens has no known size")
    return dim
