"""SentencePiece's model file -> `Tokenizer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.encoder import encoder, sentencepiece
from bessemer.tokenization.piecefile import BPE, UNIGRAM, PieceFile
from bessemer.tokenization.piecefile import read as read_pieces
from bessemer.tokenization.proof import Departure, beginnings, judged, ties, unigram_departures
from bessemer.tokenization.settings import Added, Settings
from bessemer.tokenization.vocabulary import Vocabulary, blocker

Encode = Callable[[str], list[int]]


def read(path: Path, settings: Settings, rows: int | None, files: Mapping[str, Path]) -> Tokenizer:
    """Kind 'llama' (BPE) or 't5' (Unigram), proven against tokenizer.json where that is there too, else against the
    `sentencepiece` library."""
    model = read_pieces(path)
    vocabulary = Vocabulary(
        [text for text, _, _ in model.pieces], [kind for _, _, kind in model.pieces], [score for _, score, _ in model.pieces]
    )
    vocabulary.add({i: added for i, added in settings.added.items() if _says_more(added, i, model, settings)})
    vocabulary.fit(rows)
    empty = Tokenizer("t5" if model.model == UNIGRAM else "llama", "default", (), (), flags=_flags(model, settings))
    charsmap = model.charsmap if model.model == UNIGRAM else b""
    tokenizer = replace(vocabulary.into(empty, rows), files=files, templates=settings.templates, charsmap=charsmap)
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    own = {role: i for role, i in model.ids.items() if 0 <= i < len(tokenizer.tokens)}
    tokenizer = replace(tokenizer, special=own | settings.special(ids, len(tokenizer.tokens)))
    if model.model not in (BPE, UNIGRAM):
        reason = "it splits texts into words or characters"
        return replace(tokenizer, blockers=(*tokenizer.blockers, blocker("type", reason)))
    return standing(_proven(tokenizer, _departures(path, model, tokenizer)))


def _says_more(added: Added, i: int, model: PieceFile, settings: Settings) -> bool:
    """tokenizer.json lists control tokens of the model file once more; tokenizer_config.json overrides them."""
    if i >= len(model.pieces) or str(i) in (settings.config.get("added_tokens_decoder") or ()):
        return True
    text, _, kind = model.pieces[i]
    special = (TokenType.CONTROL, TokenType.UNKNOWN)
    return added.content != text or kind not in (special if added.special else (TokenType.USER_DEFINED,))


def _flags(model: PieceFile, settings: Settings) -> dict[str, bool]:
    names = ("add_bos_token", "add_eos_token")
    flags = {name: value for name in names if isinstance(value := settings.config.get(name), bool)}
    if model.model == UNIGRAM:
        return flags | {
            "add_space_prefix": model.add_dummy_prefix,
            "remove_extra_whitespaces": model.remove_extra_whitespaces,
        }
    stated = settings.config.get("add_prefix_space")
    if not model.add_dummy_prefix:
        return flags | {"add_space_prefix": False}
    return flags | ({"add_space_prefix": stated} if isinstance(stated, bool) else {})


def _proven(tokenizer: Tokenizer, departures: list[Departure]) -> Tokenizer:
    """Pieces defined by the user are found before all others; where llama.cpp's way to do so gives other ids, they are
    taken for normal ones, as its own converter does."""
    found = judged(tokenizer, encoder(tokenizer), departures)
    if TokenType.USER_DEFINED not in tokenizer.types or not found.blockers:
        return found
    types = tuple(TokenType.NORMAL if kind == TokenType.USER_DEFINED else kind for kind in tokenizer.types)
    plain = judged(replace(tokenizer, types=types), encoder(tokenizer), departures)
    return found if plain.blockers else plain


def _departures(path: Path, model: PieceFile, tokenizer: Tokenizer) -> list[Departure]:
    """What SentencePiece does to a text before BPE and llama.cpp does not; both do it before Unigram."""
    by_library = "tokenizer.json" in tokenizer.files
    if model.model == UNIGRAM:
        return unigram_departures(tokenizer) if by_library else [ties(tokenizer)]
    processor = sentencepiece(path)
    how = f"normalizer '{model.normalizer or 'none'}'"
    how += ", runs of spaces become one" if model.remove_extra_whitespaces else ""
    rewriting = Departure(
        f"the source rewrites texts first ({how}), llama.cpp takes them as they come",
        lambda found: _rewritten(processor, model, found.text) != found.text,
    )
    return [rewriting, *(beginnings(encoder(tokenizer)) if by_library else [])]


def _rewritten(processor: Any, model: PieceFile, text: str) -> str:
    out: str = processor.normalize(text).replace("▁", " ")
    return out[1:] if model.add_dummy_prefix and out.startswith(" ") else out


def standing(tokenizer: Tokenizer) -> Tokenizer:
    """A blocker where bytes have no tokens: llama.cpp ends with an error on a character that it does not know."""
    known = set(tokenizer.tokens)
    missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in known]
    if tokenizer.kind != "llama" or not missing:
        return tokenizer
    reason = f"{len(missing)} bytes have no token, and llama.cpp ends with an error on characters that it does not know"
    return replace(tokenizer, blockers=(*tokenizer.blockers, blocker("bytes", reason)))
