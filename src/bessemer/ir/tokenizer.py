"""A tokenizer as data: what GGUF holds of one, whichever file it came from.

The kinds are llama.cpp's (`tokenizer.ggml.model`): 'llama' (SentencePiece BPE), 'gpt2' (byte-level BPE), 'bert'
(WordPiece), 't5' (Unigram), 'rwkv' (greedy longest match), 'none'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from bessemer.ir.errors import Blocker


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Tokenizer:
    """kind: see above; pre: llama.cpp's name of the pre-tokenizer ('llama-bpe', 'default'; '' where there is none).

    tokens: by id, in the kind's own spelling (byte-level BPE spells bytes as letters, SentencePiece a space as U+2581);
    scores: by id, empty where the kind has none; types: by id; merges: 'left right', by rank;
    special: 'bos' | 'eos' | 'unk' | 'sep' | 'pad' | 'cls' | 'mask' | 'eot' | 'eom' | 'fim_pre' ... -> id;
    flags: 'add_bos_token' | 'add_eos_token' | 'add_sep_token' | 'add_space_prefix' | 'remove_extra_whitespaces' |
    'escape_whitespaces' -> whether; absent where the source says nothing;
    charsmap: SentencePiece's precompiled normalizer; templates: chat templates, '' names the default one;
    files: the source's own tokenizer files (name -> path), which say more than this; an equal copy restores them.
    extra: further `tokenizer.` keys of GGUF, kept as they are;
    notes: where llama.cpp is known to depart from the source; blockers: why llama.cpp cannot tokenize as the source does.
    """

    kind: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    special: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    charsmap: bytes = b""
    templates: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
