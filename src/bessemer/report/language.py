"""The words of a proof that two language models are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bessemer.report import units

if TYPE_CHECKING:
    from bessemer.verify.evidence import (
        Language,
        LanguageEmbedding,
        LanguageRun,
        LanguageTokens,
        LanguageWeights,
        TargetEvidence,
    )

TITLES = {
    "overall": "original, artifact",
    "quantization": "original, decoded weights",
    "runtime": "decoded weights, artifact",
}
"""The two sides of each comparison."""


def divergence(row: TargetEvidence) -> str:
    """Mean KL divergence of the artifact from the original, the worst of its contexts."""
    runs = [run for run in row.language.runs if run.comparison == "overall"] if row.language else []
    if not runs:
        return units.DASH
    return number(max(float("inf") if run.mean_kld is None else run.mean_kld for run in runs))


def number(value: float | None) -> str:
    """A divergence: what is not finite is infinite."""
    return units.number(float("inf") if value is None else value)


def perplexities(run: LanguageRun) -> str:
    """'39.97 → 42.91'."""
    if run.original is None or run.artifact is None:
        return units.DASH
    return f"{run.original:.4g} → {run.artifact:.4g}"


def reading(run: LanguageRun) -> str:
    """'256 tokens, 64 at a time'."""
    return f"{run.tokens} tokens, {run.length} at a time"


def predictions(run: LanguageRun) -> str:
    """A comparison in a line."""
    limit = "" if run.limit is None else f", limit {units.number(run.limit)}"
    far = f"KL divergence {number(run.mean_kld)} (largest {number(run.max_kld)}{limit})"
    said = f"{far}, same top token {units.percent(run.same_top)}, perplexity {perplexities(run)}"
    return f"{said}; {reading(run)}"


def embedding(held: LanguageEmbedding) -> str:
    """A comparison of embeddings in a line."""
    lowest = units.DASH if held.cosine is None else f"{held.cosine:.7f}"
    return f"lowest cosine {lowest}, largest difference {number(held.max_abs)} over {held.tokens} tokens"


def tokenizers(held: LanguageTokens) -> str:
    """Whether they agree, and on what."""
    both = f"{held.original} and {held.artifact}"
    if not held.differing:
        return f"{both} agree on {held.texts} hard texts"
    return f"{both} differ on {held.differing} of {held.texts} hard texts"


def weights(line: LanguageWeights) -> str:
    """Tensors of one type."""
    count = f"{line.tensors} tensor{'s' * (line.tensors != 1)}"
    if line.snr is None:
        return f"{line.type}: {count}, every value the original's"
    alike = f", {line.identical} the original's" if line.identical else ""
    return f"{line.type}: {count}{alike}, worst {units.decibel(line.snr)} (floor {line.floor:g} dB): {line.worst}"


def lines(held: Language) -> Iterator[tuple[str, str, bool]]:
    """Label, sentence and whether it holds, in the order of a terminal."""
    if held.tokens:
        yield "tokenizer", tokenizers(held.tokens), not held.tokens.differing
        yield from (("differs", example, False) for example in held.tokens.examples)
    for run in held.runs:
        yield f"{run.context} text", f"{TITLES[run.comparison]}: {predictions(run)}", run.within
    for found in held.embeddings:
        yield "embeddings", f"{TITLES[found.comparison]}: {embedding(found)}", found.within
    yield from (("weights", weights(line), line.within) for line in held.weights)
    yield from (("wrong", problem, False) for problem in held.problems)
    yield from (("note", note, True) for note in held.notes)
