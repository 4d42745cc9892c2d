"""Two tokenizers on hard texts."""

from __future__ import annotations

from collections.abc import Sequence

from bessemer.verify.evidence import LanguageTokens
from bessemer.verify.language.subjects import Words

EXAMPLES = 5
"""Texts that are shown where tokenizers differ."""


def compared_tokens(
    original: Words | None, artifact: Words | None, corpus: Sequence[str] = ()
) -> LanguageTokens | None:
    """Both on the corpus (the package's own where it is empty); None where a side has none."""
    if original is None or artifact is None:
        return None
    texts = corpus or _corpus()
    one, two = original.encode(texts), artifact.encode(texts)
    apart = [place for place in range(len(texts)) if one[place] != two[place]]
    alike = _alike_once_normalized(original, artifact, [texts[at] for at in apart], [one[at] for at in apart])
    wrong = [at for at, fine in zip(apart, alike, strict=True) if not fine]
    ends = [*_ends(original, artifact)]
    shown = wrong[:EXAMPLES] or apart[:2]
    return LanguageTokens(
        original=original.name, artifact=artifact.name, texts=len(texts), differing=len(wrong) + len(ends),
        normalized=sum(alike), examples=[*(f"{texts[at][:80]!r}: {_few(one[at], two[at])}" for at in shown), *ends],
    )  # fmt: skip


def _alike_once_normalized(
    original: Words, artifact: Words, texts: Sequence[str], expected: Sequence[list[int]]
) -> list[bool]:
    """Whether the artifact gives the original's tokens for what the original's normalizer makes of a text."""
    if original.normalize is None or not texts:
        return [False] * len(texts)
    plain = [original.normalize(text) for text in texts]
    both = zip(original.encode(plain), artifact.encode(plain), expected, strict=True)
    return [mine == theirs == wanted for mine, theirs, wanted in both]


def _ends(original: Words, artifact: Words) -> list[str]:
    """What differs in front of or behind a text."""
    found = []
    for what in ("prefix", "suffix"):
        before, after = getattr(original, what), getattr(artifact, what)
        if before is not None and after is not None and before != after:
            found.append(f"{what} of a text: {list(before)}, in the artifact {list(after)}")
    return found


def _few(one: Sequence[int], two: Sequence[int]) -> str:
    """Both around the first token that differs."""
    at = next(
        (at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    start = max(0, at - 2)
    return f"{list(one[start : at + 4])}, in the artifact {list(two[start : at + 4])}, from token {start}"


def _corpus() -> tuple[str, ...]:
    from bessemer.tokenization.corpus import corpus

    return corpus()
