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
    limit = "" if run.within else f", limit {units.number(run.limit)}"
    far = f"KL divergence {number(run.mean_kld)} (largest {number(run.max_kld)}{limit})"
    return f"{far}, same top token {units.percent(run.same_top)}, perplexity {perplexities(run)}"


def loss(cost: LanguageRun, added: LanguageRun) -> str:
    """What rounding the weights costs by itself, and what the runtime adds to that."""
    limit = "" if added.within else f", limit {units.number(added.limit)}"
    alone = f"rounding the weights alone costs {number(cost.mean_kld)}"
    return f"{alone}, its runtime adds {number(added.mean_kld)}{limit}"


def bound(held: Language) -> str:
    """What is demanded, in words."""
    share, _, rest = held.bound.removeprefix("kl(").removesuffix(")").partition(", ")
    if not held.bound.startswith("kl("):
        return held.bound
    plain = f"a mean divergence up to {share} of what the text tells the model"
    if rest.endswith(" loss"):
        return f"beside the decoded weights {plain}, or {rest.removesuffix(' loss')} of what rounding them costs"
    return f"{plain}, and the weights' noise {rest} louder" if rest else plain


def embedding(held: LanguageEmbedding) -> str:
    """A comparison of embeddings in a line."""
    lowest = units.DASH if held.cosine is None else f"{held.cosine:.7f}"
    return f"lowest cosine {lowest}, largest difference {number(held.max_abs)} over {held.tokens} tokens"


def tokenizers(held: LanguageTokens) -> str:
    """Whether they agree, and on what."""
    both = f"{held.original} and {held.artifact}"
    said = f"{both} differ on {held.differing} of {held.texts} hard texts"
    if not held.differing:
        said = f"{both} agree on {held.texts - held.normalized} hard texts"
    if held.normalized:
        tidied = f"tidied as {held.original} does and {held.artifact} does not"
        said += f", and on {held.normalized} more once spaces are {tidied}"
    return said


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
        yield from (("differs", example, not held.tokens.differing) for example in held.tokens.examples)
    overall = [run for run in held.runs if run.comparison == "overall"]
    yield from ((f"{run.context} text", predictions(run), run.within) for run in overall)
    parts = {run.comparison: run for run in held.runs}
    if "quantization" in parts and "runtime" in parts:
        yield "loss", loss(parts["quantization"], parts["runtime"]), parts["runtime"].within
    for found in held.embeddings:
        yield "embeddings", f"{TITLES[found.comparison]}: {embedding(found)}", found.within
    yield from (("weights", weights(line), line.within) for line in held.weights)
    yield from (("wrong", problem, False) for problem in held.problems)
    yield from (("note", note, True) for note in held.notes)
