"""The proof itself: tokenizers, predictions and weights of an original and an artifact, side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import isfinite
from typing import Literal

import numpy as np

from bessemer.ir.types import Array
from bessemer.verify.evidence import Comparison, Language, LanguageEmbedding, LanguageRun
from bessemer.verify.language import bounds
from bessemer.verify.language.subjects import Subject, Window, Words, read
from bessemer.verify.language.tally import Tally, paired
from bessemer.verify.language.texts import Plan, Text, plan, sample, tokens
from bessemer.verify.language.tokenizers import compared_tokens
from bessemer.verify.language.weights import WeightProof


def prove(
    original: Subject,
    artifact: Subject,
    *,
    decoded: Subject | None = None,
    weights: WeightProof | None = None,
    types: Collection[str] = (),
    importance: bool = False,
    text: Text | None = None,
    corpus: Sequence[str] = (),
    parameters: int = 0,
) -> Language:
    """Whether the artifact is the same model. Figures stand in the record; `within` says whether all hold their bounds.

    decoded: the artifact's decoded weights in float32 (`reference.ReferenceSubject`), which tells the loss of the
    quantization from errors; weights: `weights.compare`'s; types: of the artifact's tensors; importance: whether an
    importance matrix was used; text: what is read instead of the sample; corpus: hard texts for the tokenizers (the
    package's own where empty); parameters: of the model, for a large one reads less. Raises what the subjects raise.
    """
    said = text or sample()
    words = _reader(original.words, artifact.words)
    held = tokens(words, said, _vocabulary(original, artifact))
    windows = plan(held, words, original, artifact, parameters)
    trial = _Trial(original, artifact, decoded, weights is not None and weights.equal, frozenset(types), importance)
    runs = list(trial.runs(windows)) if original.kind != "encoder" else []
    embeddings = list(trial.embeddings(windows)) if original.kind == "encoder" else []
    compared = compared_tokens(original.words, artifact.words, corpus)
    problems = [*trial.problems, *(weights.problems if weights else ())]
    same_words = compared is None or not compared.differing
    parts = [*runs, *embeddings, *(weights.lines if weights else ())]
    return Language(
        original=original.runtime, artifact=artifact.runtime, decoded=decoded.runtime if decoded else "",
        text=said.name if words is not None else "random tokens, for there is no tokenizer", bound=trial.bound,
        tokens=compared, runs=runs, embeddings=embeddings, weights=weights.lines if weights else [], problems=problems,
        notes=trial.notes, within=same_words and not problems and all(part.within for part in parts),
    )  # fmt: skip


class _Trial:
    """Both models, and the artifact's decoded weights where they can be run by themselves."""

    def __init__(
        self, original: Subject, artifact: Subject, decoded: Subject | None, equal: bool, types: Collection[str],
        importance: bool,
    ) -> None:  # fmt: skip
        self.original, self.artifact = original, artifact
        self.decoded = None if equal else decoded
        self.equal, self.types, self.importance = equal, types, importance
        self.kind = bounds.coarsest(original.arithmetic, artifact.arithmetic)
        self.vocabulary = _vocabulary(original, artifact)
        self.problems = [*self._mismatches()]
        self.notes: list[str] = []
        if 0 < original.vocabulary != artifact.vocabulary > 0:
            self.notes.append(
                f"The original gives logits for {original.vocabulary} tokens, the artifact for {artifact.vocabulary}: "
                f"the first {self.vocabulary} were compared"
            )

    def _mismatches(self) -> Iterator[str]:
        if self.original.kind != self.artifact.kind:
            yield f"The original is a model of the kind '{self.original.kind}', the artifact '{self.artifact.kind}'"

    @property
    def bound(self) -> str:
        """What is demanded, by name: see `Language.bound`."""
        share = f"{bounds.SHARES[self.kind]:g}"
        if self.equal or not self.types:
            return f"kl({share})"
        if self.decoded is not None:
            return f"kl({share}, {bounds.added(self.types):g} loss)"
        return f"kl({share}, {bounds.DECIBELS:g} dB)"

    def runs(self, windows: Plan) -> Iterator[LanguageRun]:
        """Short context with all comparisons, long context overall."""
        if self.problems:
            return
        losses: list[LanguageRun] = []
        for context, chosen in (("short", windows.short), ("long", windows.long)):
            if chosen:
                yield from self._context("short" if context == "short" else "long", chosen, losses)

    def _context(
        self, context: Literal["short", "long"], windows: Sequence[Window], losses: list[LanguageRun]
    ) -> Iterator[LanguageRun]:
        third = self.decoded if context == "short" else None
        overall, quantization, runtime = self._tallies(windows, third)
        length = len(windows[0])
        if third is not None:
            loss = _run("quantization", context, length, quantization, None)
            losses.append(loss)
            yield loss
            allowed = bounds.added(self.types) * quantization.mean_divergence
            limit = bounds.runtime(self.kind, runtime.spread, allowed if isfinite(allowed) else 0.0)
            yield _run("runtime", context, length, runtime, limit)
        yield _run("overall", context, length, overall, self._limit(context, overall.spread, losses))

    def _limit(self, context: str, spread: float, losses: Sequence[LanguageRun]) -> float:
        if self.equal or not self.types:
            return bounds.runtime(self.kind, spread)
        if losses:
            share = (losses[0].mean_kld or 0.0) / max(losses[0].spread, 1e-30)
            elsewhere = 2 if context == "long" else 1
            return bounds.explained(self.kind, spread, share * spread * elsewhere, self.types)
        return bounds.unexplained(self.kind, spread, self.types, self.importance)

    def _tallies(self, windows: Sequence[Window], third: Subject | None) -> tuple[Tally, Tally, Tally]:
        overall, quantization, runtime = Tally(), Tally(), Tally()
        sides = [self.original, self.artifact, *([third] if third is not None else [])]
        follows = _follows(windows, self.original)
        place = 0
        for parts in paired(*(side.answers(windows) for side in sides)):
            cut = [part[:, : self.vocabulary] for part in parts]
            after = follows[place : place + len(cut[0])]
            place += len(cut[0])
            overall.add(cut[0], cut[1], after)
            if len(cut) > 2:
                quantization.add(cut[0], cut[2], after)
                runtime.add(cut[2], cut[1], after)
        if place != len(follows):
            self.problems.append(f"Of {len(follows)} positions only {place} were answered by all sides")
        return overall, quantization, runtime

    def embeddings(self, windows: Plan) -> Iterator[LanguageEmbedding]:
        """Of every token of all windows."""
        if self.problems:
            return
        chosen = [*windows.short, *windows.long]
        both = [(self.original.embeddings(window), self.artifact.embeddings(window)) for window in chosen]
        if self.decoded is None:
            yield _embedding("overall", both, self._cosine_limit())
            return
        third = [self.decoded.embeddings(window) for window in chosen]
        loss = _embedding("quantization", [(one, two) for (one, _), two in zip(both, third, strict=True)], None)
        apart = _apart(loss)
        yield loss
        ran = [(one, two) for one, (_, two) in zip(third, both, strict=True)]
        yield _embedding("runtime", ran, max(bounds.SHARES[self.kind], bounds.added(self.types) * apart))
        yield _embedding("overall", both, min(2.0, bounds.explained(self.kind, 1.0, apart, self.types)))

    def _cosine_limit(self) -> float:
        if self.equal or not self.types:
            return bounds.SHARES[self.kind]
        return min(2.0, bounds.unexplained(self.kind, 1.0, self.types, self.importance))


def _run(
    comparison: Comparison, context: Literal["short", "long"], length: int, tally: Tally, limit: float | None
) -> LanguageRun:
    mean, most = tally.mean_divergence, tally.largest_divergence
    both = tally.perplexities
    return LanguageRun(
        comparison=comparison, context=context, length=length, tokens=tally.positions,
        mean_kld=mean if isfinite(mean) else None, max_kld=most if isfinite(most) else None, same_top=tally.same_top,
        original=both[0] if both else None, artifact=both[1] if both else None, spread=tally.spread,
        limit=limit, within=isfinite(mean) and (limit is None or mean <= limit),
    )  # fmt: skip


def _follows(windows: Sequence[Window], original: Subject) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The token after each position that is answered; -1 at the end of a window."""
    rows = [read(window, original.kind, original.start) for window in windows]
    return np.concatenate([np.array([*row[1:], -1], np.int64) for row in rows])


def _embedding(
    comparison: Comparison, pairs: Sequence[tuple[Array, Array]], limit: float | None
) -> LanguageEmbedding:
    one = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    two = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    size = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    cosines = np.where(size > 0, (one * two).sum(-1) / np.maximum(size, 1e-300), (one == two).all(-1))
    lowest, most = float(cosines.min()), float(np.abs(one - two).max())
    whole = isfinite(lowest) and isfinite(most)
    return LanguageEmbedding(
        comparison=comparison, tokens=len(one), cosine=lowest if whole else None, max_abs=most if whole else None,
        limit=limit, within=whole and (limit is None or 1 - lowest <= limit),
    )  # fmt: skip


def _apart(held: LanguageEmbedding) -> float:
    return 2.0 if held.cosine is None else max(0.0, 1 - held.cosine)


def _vocabulary(original: Subject, artifact: Subject) -> int:
    """Tokens that both know; 1 where neither says."""
    return min((held for held in (original.vocabulary, artifact.vocabulary) if held), default=1)


def _reader(original: Words | None, artifact: Words | None) -> Words | None:
    """The original's tokenizer; what it does not know of a text's ends, the artifact's says."""
    if original is None or artifact is None:
        return original or artifact
    prefix = original.prefix if original.prefix is not None else artifact.prefix
    suffix = original.suffix if original.suffix is not None else artifact.suffix
    return Words(original.encode, prefix, suffix, original.name)
