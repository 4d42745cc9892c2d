"""Whether llama.cpp will tokenize as the source does: both are held against each other on hard strings.

A difference that comes from a known departure of llama.cpp becomes a note with an example; any other one a blocker.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bessemer.ir.errors import Blocker
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.charsmap import Charsmap
from bessemer.tokenization.corpus import Difference, corpus, differences
from bessemer.tokenization.encoder import encoder, flat_encoder
from bessemer.tokenization.evaluate import known
from bessemer.tokenization.evaluate.parts import sought
from bessemer.tokenization.letters import unspelled
from bessemer.tokenization.special import scores
from bessemer.tokenization.vocabulary import blocker

Encode = Callable[[str], list[int]]
EXAMPLES = 3


@dataclass(frozen=True)
class Departure:
    """reason: what llama.cpp does otherwise; applies: whether that explains a difference."""

    reason: str
    applies: Callable[[Difference], bool]


def composes(text: str) -> bool:
    """Whether NFC changes the text."""
    return unicodedata.normalize("NFC", text) != text


NFC = Departure(
    "the source composes characters (NFC) before it tokenizes, llama.cpp takes them as they come",
    lambda found: composes(found.text),
)


GRAPHEMES = Departure(
    "the tokenizers library applies SentencePiece's charsmap grapheme by grapheme, llama.cpp as SentencePiece does",
    lambda found: composes(found.text),
)


def beginnings(source: Encode) -> list[Departure]:
    """The departure of a source (the `tokenizers` library's Metaspace) that sees to it that a text begins with a space."""
    if source(" x") != source("x"):
        return []
    reason = "the source puts no space ahead of a text that begins with one, llama.cpp does"
    return [Departure(reason, lambda found: found.text[:1] in (" ", "▁"))]


def spaces(charsmap: Callable[[str], str]) -> Departure:
    """Of T5's and its relatives' tokenizer.json, which splits at whitespace before it segments."""

    def strange(character: str) -> bool:
        return character.isspace() and charsmap(character) != " "

    return Departure(
        "the source splits at every kind of space, llama.cpp at those that the charsmap makes a space",
        lambda found: any(strange(character) for character in found.text),
    )


def ties(tokenizer: Tokenizer) -> Departure:
    """Segmentations that score the same: SentencePiece adds up in 32 bits, llama.cpp in 64."""

    by_id = scores(tokenizer)

    def score(ids: tuple[int, ...]) -> float:
        return sum(by_id[i] for i in ids)

    return Departure(
        "of segmentations that score the same llama.cpp may take another one than the source",
        lambda found: abs(score(found.first) - score(found.second)) <= 1e-5 * abs(score(found.first)),
    )


def unigram_departures(tokenizer: Tokenizer) -> list[Departure]:
    """What may be otherwise in a Unigram tokenizer.json."""
    return [ties(tokenizer), GRAPHEMES, spaces(Charsmap(tokenizer.charsmap))]


def specials(tokenizer: Tokenizer) -> Departure:
    """What may happen around tokens that llama.cpp looks for before it splits a text: spaces trimmed or put in, and found
    by their spelling where the source knows a plain token."""
    spelled = [token for token, _ in sought(tokenizer, parse_special=True)]
    reason = "llama.cpp finds added tokens, and spaces beside them, in its own way"
    return Departure(reason, lambda found: any(token in found.text for token in spelled))


def judged(tokenizer: Tokenizer, source: Encode, departures: Iterable[Departure]) -> Tokenizer:
    """The tokenizer with its notes and blockers. source: text -> ids as they must be."""
    found = differences(source, flat_encoder(tokenizer), texts(tokenizer))
    notes, unexplained = explained(found, [*departures, specials(tokenizer)])
    if not unexplained:
        return replace(tokenizer, notes=(*tokenizer.notes, *notes))
    return replace(tokenizer, blockers=(*tokenizer.blockers, unequal(unexplained)))


def explained(found: list[Difference], departures: list[Departure]) -> tuple[list[str], list[Difference]]:
    """(a note for each departure that shows, with its number and an example; the differences that none explains)."""
    by_reason: dict[str, list[Difference]] = {}
    rest = []
    for difference in found:
        reason = next((d.reason for d in departures if d.applies(difference)), None)
        if reason is None:
            rest.append(difference)
        else:
            by_reason.setdefault(reason, []).append(difference)
    return [f"{reason} ({len(shown)} hard strings): {shown[0]}" for reason, shown in by_reason.items()], rest


def unequal(found: list[Difference]) -> Blocker:
    """The blocker of a tokenizer that llama.cpp cannot reproduce."""
    shown = "; ".join(str(difference) for difference in sorted(found, key=lambda d: len(d.text))[:EXAMPLES])
    return blocker("unequal", f"llama.cpp would give other tokens for {len(found)} hard strings: {shown}")


def texts(tokenizer: Tokenizer) -> list[str]:
    """The corpus, its composed forms, and strings made of the vocabulary's own tokens (the same ones every time)."""
    hard = [*corpus(), *_made(tokenizer)]
    composed = [unicodedata.normalize("NFC", text) for text in hard]
    return list(dict.fromkeys(hard + composed))


def _made(tokenizer: Tokenizer, count: int = 250) -> list[str]:
    dice = random.Random(0)
    rows = zip(tokenizer.tokens, tokenizer.types, strict=True)
    plain = [token for token, kind in rows if kind == TokenType.NORMAL and token]
    picked = [[dice.choice(plain) for _ in range(dice.randint(1, 8))] for _ in range(count if plain else 0)]
    return [_spelled(tokenizer, tokens) for tokens in picked]


def _spelled(tokenizer: Tokenizer, tokens: list[str]) -> str:
    joined = "".join(tokens)
    if tokenizer.kind == "gpt2" and "▁" not in joined:
        return unspelled(joined).decode("utf-8", "ignore")
    return joined.replace("▁", " ")


def proof_texts(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The hard strings on which llama.cpp agrees with the source: all of them, less those that `notes` explain."""
    if not known(tokenizer):
        return corpus()
    own, flat = encoder(tokenizer), flat_encoder(tokenizer)
    return tuple(text for text in corpus() if own(text) == flat(text))
