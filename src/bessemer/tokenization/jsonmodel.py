"""tokenizer.json -> `Tokenizer`: byte-level BPE, BPE with byte tokens, WordPiece, Unigram."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization import frame
from bessemer.tokenization.corpus import Difference
from bessemer.tokenization.encoder import library_encoder
from bessemer.tokenization.jsonfiles import MAXIMUM_TOKENS, by_id
from bessemer.tokenization.pieces import standing
from bessemer.tokenization.proof import Departure, beginnings, judged, unigram_departures
from bessemer.tokenization.recognise import Traits, recognised
from bessemer.tokenization.settings import STATED_PRE, Settings
from bessemer.tokenization.vocabulary import ADDED_SCORE, Vocabulary, blocker

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
LONGEST_WORD = 100  # BERT gives up on longer words


@dataclass(frozen=True)
class Source:
    """A tokenizer.json with all around it. data: its object; library: `tokenizers.Tokenizer`; rows: of the embedding."""

    path: Path
    data: Mapping[str, Any]
    library: Any
    settings: Settings
    rows: int | None

    @property
    def model(self) -> Mapping[str, Any]:
        """The object `model`."""
        model: Mapping[str, Any] = self.data["model"]
        return model

    def encode(self, text: str) -> list[int]:
        """The source's ids."""
        return library_encoder(self.library)(text)


def read(source: Source, files: Mapping[str, Path]) -> Tokenizer:
    """Kind, vocabulary, flags and proof. What llama.cpp has no word for is a blocker of the result."""
    reader = _READERS.get(str(source.model.get("type")), _unknown)
    tokenizer = reader(source)
    return replace(tokenizer, files=files, templates=source.settings.templates, extra=_token_types(source, tokenizer.kind))


def _unknown(source: Source) -> Tokenizer:
    vocabulary = source.model.get("vocab")
    tokens = by_id(source.path, vocabulary) if isinstance(vocabulary, dict) else []
    found = Vocabulary(tokens, [TokenType.NORMAL] * len(tokens))
    found.fit(source.rows)
    reason = f"llama.cpp has no tokenizer of the type '{source.model.get('type')}'"
    return found.into(Tokenizer("none", "", (), (), blockers=(blocker("type", reason),)), source.rows)


def _bpe(source: Source) -> Tokenizer:
    byte_tokens = source.model.get("byte_fallback") or not _mentions(source.data, "ByteLevel")
    return _sentencepiece(source) if byte_tokens else _byte_level(source)


def _mentions(data: Mapping[str, Any], kind: str) -> bool:
    parts = [data.get(name) or {} for name in ("pre_tokenizer", "decoder", "normalizer")]
    inner = [step for part in parts for step in part.get("pretokenizers", part.get("decoders", []))]
    return any(isinstance(part, dict) and part.get("type") == kind for part in [*parts, *inner])


def _byte_level(source: Source) -> Tokenizer:
    vocabulary = _base(source)
    tokenizer = _framed(source, Tokenizer("gpt2", "", (), (), merges=_merges(source)), vocabulary)
    separated = tokenizer.flags.get("add_sep_token", False)
    traits = Traits(bool(source.model.get("ignore_merges")), separated, str(source.settings.config.get(STATED_PRE, "")))
    return recognised(tokenizer, source.library, source.encode, traits)


def _base(source: Source) -> Vocabulary:
    tokens = by_id(source.path, source.model.get("vocab"))
    vocabulary = Vocabulary(tokens, [TokenType.UNUSED if token is None else TokenType.NORMAL for token in tokens])
    vocabulary.add(source.settings.added)
    vocabulary.fit(source.rows)
    return vocabulary


def _framed(source: Source, tokenizer: Tokenizer, vocabulary: Vocabulary) -> Tokenizer:
    """Tokens, special ids and what stands around a text."""
    tokenizer = vocabulary.into(tokenizer, source.rows)
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    special = source.settings.special(ids, len(tokenizer.tokens))
    return frame.framed(replace(tokenizer, special=special), source.library)


def _merges(source: Source) -> tuple[str, ...]:
    merges = source.model.get("merges") or []
    if isinstance(merges, list) and len(merges) <= MAXIMUM_TOKENS:
        if all(isinstance(merge, str) for merge in merges):
            return tuple(merges)
        if all(isinstance(merge, list) and len(merge) == 2 and isinstance(merge[0] + merge[1], str) for merge in merges):
            return tuple(f"{left.replace(' ', 'Ġ')} {right.replace(' ', 'Ġ')}" for left, right in merges)
    raise UnreadableInput(f"The merges of {source.path} are neither strings nor pairs of strings")


def _sentencepiece(source: Source) -> Tokenizer:
    """BPE on characters with byte tokens: scores that order the tokens as their merges do; else the merges themselves,
    where no space is put ahead (llama.cpp's 'sarvam-moe', and 'gemma4' for that family)."""
    scored = _scored(source)
    forms = [standing(scored)]
    if not scored.flags.get("add_space_prefix", True):
        merged = replace(scored, kind="gpt2", pre="sarvam-moe", merges=_merges(source), scores=())
        forms = [_gemma4(scored, merged.merges), *forms] if _is_gemma4(source) else [*forms, merged]
    departures = beginnings(source.encode)
    judgements = [judged(form, source.encode, departures) for form in forms]
    return next((found for found in judgements if not found.blockers), judgements[0])


def _scored(source: Source) -> Tokenizer:
    ranks: dict[str, int] = {}
    for merge in _merges(source):
        ranks.setdefault(merge.replace(" ", "", 1), len(ranks))
    vocabulary = _base(source)
    tokens = vocabulary.spelled()
    marked = dict.fromkeys(BYTES, TokenType.BYTE) | {source.model.get("unk_token"): TokenType.UNKNOWN}
    vocabulary.types = [marked.get(token, kind) for token, kind in zip(tokens, vocabulary.types, strict=True)]
    vocabulary.scores = [_score(token, kind, ranks) for token, kind in zip(tokens, vocabulary.types, strict=True)]
    prefix = _prefixed(source)
    flags = {"add_space_prefix": prefix} if not prefix or "add_prefix_space" in source.settings.config else {}
    return _framed(source, Tokenizer("llama", "default", (), (), flags=flags), vocabulary)


def _score(token: str, kind: int, ranks: Mapping[str, int]) -> float:
    if kind in (TokenType.CONTROL, TokenType.USER_DEFINED):
        return ADDED_SCORE
    return -float(ranks.get(token, 0))


def _is_gemma4(source: Source) -> bool:
    config = source.settings.config
    return config.get(STATED_PRE) == "gemma4" or str(source.settings.model.get("model_type")).startswith("gemma4")


def _gemma4(scored: Tokenizer, merges: tuple[str, ...]) -> Tokenizer:
    """llama.cpp always puts the first token ahead, and shows the tokens that its chat parser looks for."""
    rows = zip(scored.tokens, scored.types, strict=True)
    types = tuple(TokenType.USER_DEFINED if token in _SHOWN else kind for token, kind in rows)
    flags = {**scored.flags, "add_space_prefix": False, "add_bos_token": True}
    scores = (ADDED_SCORE,) * len(scored.tokens)
    return replace(scored, kind="gemma4", pre="", merges=merges, scores=scores, types=types, flags=flags)


_SHOWN = (
    "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
)  # fmt: skip


def _prefixed(source: Source) -> bool:
    tokens: list[str] = source.library.encode("x", add_special_tokens=False).tokens
    return tokens[:1] != ["x"]


def _wordpiece(source: Source) -> Tokenizer:
    vocabulary = _base(source)
    rows = zip(vocabulary.spelled(), vocabulary.types, strict=True)
    vocabulary.tokens = [phantom(token, kind) for token, kind in rows]
    normalizer = frame.normalizer_flags(source.data.get("normalizer"))
    tokenizer = _framed(source, Tokenizer("bert", "", (), (), flags=normalizer), vocabulary)
    tokenizer = replace(tokenizer, pre=str(source.settings.config.get(STATED_PRE) or "default"))
    if source.model.get("continuing_subword_prefix", "##") != "##":
        reason = "it marks the inside of words otherwise than with '##'"
        return replace(tokenizer, blockers=(*tokenizer.blockers, blocker("wordpiece", reason)))
    return judged(tokenizer, source.encode, WORDPIECE)


def phantom(token: str, kind: int) -> str:
    """llama.cpp's spelling of WordPiece: what begins a word carries U+2581, '##' goes."""
    if kind == TokenType.CONTROL:
        return token
    return token[2:] if token.startswith("##") else "▁" + token


def _token_types(source: Source, kind: str) -> dict[str, int]:
    """How many kinds of text a BERT tells apart."""
    model = source.settings.model
    if kind != "bert" and "type_vocab_size" not in model and model.get("model_type") not in _ENCODERS:
        return {}
    count = model.get("type_vocab_size", 1)
    return {"tokenizer.ggml.token_type_count": count} if isinstance(count, int) else {}


_ENCODERS = ("roberta", "xlm-roberta")


def _unlike_marks(found: Difference) -> bool:
    parts = [unicodedata.normalize("NFD", character) for character in found.text]
    kinds = [[unicodedata.category(character) for character in part] for part in parts]
    return any(kind[0] in ("Mc", "Me", "Cn") or any(other != "Mn" for other in kind[1:]) for kind in kinds)


def _long_word(found: Difference) -> bool:
    return any(len(word) > LONGEST_WORD for word in found.text.split())


WORDPIECE = (
    Departure("llama.cpp drops every mark of a script and takes Hangul syllables apart incompletely", _unlike_marks),
    Departure(f"the source gives up on words of more than {LONGEST_WORD} characters, llama.cpp does not", _long_word),
)


def _unigram(source: Source) -> Tokenizer:
    rows = source.model.get("vocab")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise UnreadableInput(f"The vocabulary of {source.path} is no list of tokens with scores")
    unknown = source.model.get("unk_id")
    tokens, scores = [str(token) for token, _ in rows], [float(score) for _, score in rows]
    vocabulary = Vocabulary(list(tokens), [TokenType.NORMAL] * len(tokens), scores)
    vocabulary.add(source.settings.added)
    vocabulary.fit(source.rows)
    if isinstance(unknown, int) and 0 <= unknown < len(tokens):
        vocabulary.types[unknown] = TokenType.UNKNOWN
    merges_spaces = source.encode("a   b") == source.encode("a b")
    flags = {"add_space_prefix": _prefixed(source), "remove_extra_whitespaces": merges_spaces}
    tokenizer = Tokenizer("t5", "default", (), (), flags=flags, charsmap=_charsmap(source))
    tokenizer = _framed(source, tokenizer, vocabulary)
    if isinstance(unknown, int):
        tokenizer = replace(tokenizer, special={"unk": unknown, **tokenizer.special})
    return judged(tokenizer, source.encode, unigram_departures(tokenizer))


def _charsmap(source: Source) -> bytes:
    normalizer = source.data.get("normalizer") or {}
    steps = [normalizer, *normalizer.get("normalizers", [])]
    found = next((step["precompiled_charsmap"] for step in steps if step.get("precompiled_charsmap")), "")
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise UnreadableInput(f"The charsmap of {source.path} is not base64") from error


_READERS: dict[str, Callable[[Source], Tokenizer]] = {"BPE": _bpe, "WordPiece": _wordpiece, "Unigram": _unigram}
