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
from bessemer.tokenization.pretokenizers import BY_NAME, KNOWN, Expressions, Pre, splitter
from bessemer.tokenization.proof import NFC, Departure, composes, explained, specials, texts, unequal
from bessemer.tokenization.vocabulary import blocker

Encode = Callable[[str], list[int]]
CHUNK = 50
"""Strings after which a pre-tokenizer that has more differences than another is given up."""


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
    departures = [*([NFC] if library.normalizer is not None else []), specials(tokenizer)]
    trial = _Trial(tokenizer, {probe: encode(probe) for probe in probes}, departures)
    for pre, original in _candidates(library, probes, traits):
        named = traits.name(pre)
        notes = trial.notes(named, original or pre.expressions)
        if notes is not None:
            stand_in = trial.stand_in(named) if original else []
            return replace(tokenizer, pre=named, notes=(*tokenizer.notes, *notes, *stand_in))
    return replace(tokenizer, blockers=(*tokenizer.blockers, unequal(trial.nearest)))


class _Trial:
    """Pre-tokenizers held against the source's ids. nearest: the fewest differences that one of them had."""

    def __init__(self, tokenizer: Tokenizer, truth: dict[str, list[int]], departures: list[Departure]) -> None:
        self._tokenizer, self._truth, self._departures = tokenizer, truth, departures
        self._known, self._special = tables(tokenizer), sought(tokenizer, True)
        self.nearest: list[Difference] = []

    def notes(self, name: str, expressions: Expressions) -> list[str] | None:
        """Notes on known departures; None where other differences are left, which are counted up to the fewest yet."""
        encode = self._encoder(name, expressions)
        probes, found = list(self._truth), list[Difference]()
        for start in range(0, len(probes), CHUNK):
            found += differences(self._truth.__getitem__, encode, probes[start : start + CHUNK])
            notes, left = explained(found, self._departures)
            if self.nearest and len(left) >= len(self.nearest):
                return None
        self.nearest = left
        return None if left else notes

    def stand_in(self, name: str) -> list[str]:
        """Where llama.cpp's own expressions depart from those that they stand for."""
        encode = self._encoder(name, BY_NAME[name].expressions)
        reason = f"llama.cpp's '{name}' stands for this tokenizer's way to split words, and departs from it"
        found = differences(self._truth.__getitem__, encode, self._truth)
        notes, _ = explained(found, [*self._departures, Departure(reason, lambda _: True)])
        return [note for note in notes if note.startswith(reason)]

    def _encoder(self, name: str, expressions: Expressions) -> Encode:
        chosen = replace(self._tokenizer, pre=name)
        return around(self._special, encoder(chosen, self._known, expressions))


def _changed(library: Any, probes: list[str]) -> tuple[str, str] | None:
    """A text that the source's normalizer changes otherwise than by composing characters."""
    if library.normalizer is None:
        return None
    pairs = ((probe, library.normalizer.normalize_str(probe)) for probe in probes if not composes(probe))
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def _candidates(library: Any, probes: list[str], traits: Traits) -> Iterator[tuple[Pre, Expressions]]:
    """(behaviour, the expressions that it stands for; () where its own are meant)."""
    known = sorted((pre for pre in KNOWN if pre.byte_level), key=traits.distance)
    words = _words(library, probes)
    same = [pre for pre in known if _splits(pre.expressions, words)]
    yield from ((pre, ()) for pre in same)
    yield from ((pre, original) for pre in known for original in pre.stands_for if _splits(original, words))
    yield from ((pre, ()) for pre in known if pre not in same)


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
