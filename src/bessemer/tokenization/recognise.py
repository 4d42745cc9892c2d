"""Which of llama.cpp's pre-tokenizers a tokenizer has: found by what it does to texts, never by its name or hash.

First those that split every probe as the source does; then those that stand for the source's expressions though llama.cpp
departs from them; then those that give the same ids though they split otherwise (a vocabulary without long numbers hides how
digits are parted). What is chosen gives the source's ids on all hard strings, or a note says where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization.corpus import Difference, differences
from bessemer.tokenization.evaluate.byte_level import encoder, tables
from bessemer.tokenization.evaluate.parts import around, sought
from bessemer.tokenization.letters import spelled
from bessemer.tokenization.pretokenizers import KNOWN, Expressions, Pre, splitter
from bessemer.tokenization.proof import NFC, Departure, composes, explained, specials, texts, unequal
from bessemer.tokenization.vocabulary import blocker

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Traits:
    """What tells behaviours of the same splits apart; stated: the name that a GGUF file had, '' where nobody says."""

    ignore_merges: bool
    separated: bool
    stated: str

    def distance(self, pre: Pre) -> tuple[bool, bool, bool]:
        """Smaller is better."""
        return (
            self.stated not in pre.names,
            pre.ignore_merges != self.ignore_merges,
            self.separated != (pre.names[0] == "roberta-bpe"),
        )

    def name(self, pre: Pre) -> str:
        """llama.cpp's name for a behaviour."""
        return self.stated if self.stated in pre.names else pre.names[0]


def recognised(tokenizer: Tokenizer, library: Any, encode: Encode, traits: Traits) -> Tokenizer:
    """`tokenizer` with `pre` and notes, or with the blocker that holds the nearest pre-tokenizer's differences.

    library: the source as a `tokenizers.Tokenizer`; encode: its ids.
    """
    probes = texts(tokenizer)
    if (changed := _changed(library, probes)) is not None:
        reason = f"it rewrites texts before it tokenizes, {changed[0]!r} to {changed[1]!r}, and llama.cpp does not"
        return replace(tokenizer, blockers=(*tokenizer.blockers, blocker("normalizer", reason)))
    truth = {probe: encode(probe) for probe in probes}
    known, special = tables(tokenizer), sought(tokenizer, True)
    departures = [*([NFC] if library.normalizer is not None else []), specials(tokenizer)]
    nearest: list[Difference] | None = None
    for pre, more in _candidates(library, probes, traits):
        chosen = replace(tokenizer, pre=traits.name(pre))
        found = differences(truth.__getitem__, around(special, encoder(chosen, known)), probes)
        notes, rest = explained(found, departures + more)
        if not rest:
            return replace(chosen, notes=(*tokenizer.notes, *notes))
        nearest = rest if nearest is None or len(rest) < len(nearest) else nearest
    return replace(tokenizer, blockers=(*tokenizer.blockers, unequal(nearest or [])))


def _changed(library: Any, probes: list[str]) -> tuple[str, str] | None:
    """A text that the source's normalizer changes otherwise than by composing characters."""
    if library.normalizer is None:
        return None
    pairs = ((probe, library.normalizer.normalize_str(probe)) for probe in probes if not composes(probe))
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def _candidates(library: Any, probes: list[str], traits: Traits) -> Iterator[tuple[Pre, list[Departure]]]:
    known = sorted((pre for pre in KNOWN if pre.byte_level), key=traits.distance)
    words = _words(library, probes)
    same = [pre for pre in known if _splits(pre.expressions, words)]
    yield from ((pre, []) for pre in same)
    for pre in known:
        for original in pre.stands_for:
            if _splits(original, words):
                reason = f"llama.cpp's '{pre.names[0]}' stands for this tokenizer's way to split words, and departs from it"
                yield pre, [Departure(reason, lambda _: True)]
    yield from ((pre, []) for pre in known if pre not in same)


def _words(library: Any, probes: list[str]) -> dict[str, list[str]]:
    """composed probe -> words as the source splits it, in letters for bytes."""
    out = {}
    for probe in probes:
        if not composes(probe):
            parts = library.pre_tokenizer.pre_tokenize_str(probe) if library.pre_tokenizer else [(probe, None)]
            out[probe] = [word for word, _ in parts]
    return out


def _splits(expressions: Expressions, words: dict[str, list[str]]) -> bool:
    split = splitter(expressions)
    return all([spelled(word) for word in split(probe)] == expected for probe, expected in words.items())
