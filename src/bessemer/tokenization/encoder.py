"""text -> ids, the source's own way or as llama.cpp would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bessemer.ir.errors import MissingExtra, UnreadableInput
from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization.evaluate import fragments, known
from bessemer.tokenization.evaluate.parts import parted
from bessemer.tokenization.jsonfiles import text

Encode = Callable[[str], list[int]]
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def encoder(tokenizer: Tokenizer, *, parse_special: bool = True) -> Encode:
    """The source's own encoder where its files are there (tokenizer.json by `tokenizers`, tokenizer.model by
    `sentencepiece`), else `flat_encoder`. Nothing is put around the text; `parse_special`: the spelling of a special
    token in the text means that token.
    """
    if "tokenizer.json" in tokenizer.files:
        return library_encoder(library(tokenizer.files["tokenizer.json"]), parse_special)
    model = next((tokenizer.files[name] for name in SENTENCEPIECE if name in tokenizer.files), None)
    if model is not None and tokenizer.kind in ("llama", "t5"):
        return parted(tokenizer, sentencepiece_encoder(model), parse_special)
    return flat_encoder(tokenizer, parse_special=parse_special)


def flat_encoder(tokenizer: Tokenizer, *, parse_special: bool = True) -> Encode:
    """What llama.cpp makes of the flat data. Raises Declined for kinds and pre-tokenizers that are not known."""
    return parted(tokenizer, fragments(tokenizer), parse_special)


def readable(tokenizer: Tokenizer) -> bool:
    """Whether `encoder` can tokenize: there are files that a library reads, or llama.cpp's algorithm is known here."""
    if any(name in tokenizer.files for name in ("tokenizer.json", *SENTENCEPIECE)):
        return True
    return known(tokenizer)


def library(path: Path) -> Any:
    """`tokenizers.Tokenizer` of a tokenizer.json. Raises MissingExtra, UnreadableInput."""
    return loaded(path, text(path))


def loaded(path: Path, content: str) -> Any:
    """The same of a text that came from `path`."""
    try:
        from tokenizers import Tokenizer as Library
    except ImportError as error:
        raise MissingExtra("tokenizers", extra="gguf", needed_for="Reading tokenizer.json") from error
    try:
        return Library.from_str(content)
    except Exception as error:  # the library raises bare Exception for whatever it does not like
        raise UnreadableInput(f"{path} is not read by the tokenizers library", why=str(error)[:300]) from error


def library_encoder(tokenizer: Any, parse_special: bool = True) -> Encode:
    """text -> ids by a `tokenizers.Tokenizer`."""

    def encode(words: str) -> list[int]:
        tokenizer.encode_special_tokens = not parse_special
        ids: list[int] = tokenizer.encode(words, add_special_tokens=False).ids
        return ids

    return encode


def sentencepiece_encoder(path: Path) -> Encode:
    """text -> ids by the `sentencepiece` library. Raises MissingExtra."""
    processor = sentencepiece(path)
    return lambda words: list(processor.encode(words))


def sentencepiece(path: Path) -> Any:
    """`sentencepiece.SentencePieceProcessor` of a model file. Raises MissingExtra, UnreadableInput."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise MissingExtra("sentencepiece", extra="gguf", needed_for="Reading tokenizer.model") from error
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise UnreadableInput(f"{path} is not read by the sentencepiece library", why=str(error)[:300]) from error
