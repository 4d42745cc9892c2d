"""`Tokenizer` -> the object of a tokenizer.json that gives the same ids."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from bessemer.ir.errors import Declined
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.tokenization.merges import from_scores
from bessemer.tokenization.pretokenizers import BY_NAME, Pre
from bessemer.tokenization.special import DEFAULTS, roles, scores
from bessemer.tokenization.vocabulary import blocker

Json = dict[str, Any]
SPACE = "▁"
_ADDED = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)


def document(tokenizer: Tokenizer) -> Json:
    """The object. Raises Declined where the `tokenizers` library has no word for the kind, or two tokens share a spelling
    (their ids would be lost)."""
    maker = _MAKERS.get(tokenizer.kind)
    if maker is None:
        raise _declined("type", f"the tokenizers library has no kind like '{tokenizer.kind}'")
    if tokenizer.kind in DEFAULTS and "unk" not in roles(tokenizer):
        raise _declined("vocabulary", "it has no unknown token")
    parts = maker(tokenizer)
    names = _spelled(tokenizer)
    if len(set(names)) < len(names):
        raise _declined("vocabulary", "two tokens are spelled the same, and tokenizer.json finds tokens by spelling")
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(tokenizer, names)}
    return base | {"normalizer": None, "pre_tokenizer": None, "post_processor": post_processor(tokenizer), **parts}


def _declined(rule: str, reason: str) -> Declined:
    return Declined("tokenizer.json", [blocker(rule, reason)])


def _spelled(tokenizer: Tokenizer) -> list[str]:
    """As Hugging Face spells them: WordPiece without U+2581 and with '##'."""
    if tokenizer.kind != "bert":
        return list(tokenizer.tokens)
    rows = zip(tokenizer.tokens, tokenizer.types, strict=True)
    return [_unphantomed(token, kind) for token, kind in rows]


def _unphantomed(token: str, kind: int) -> str:
    if kind == TokenType.CONTROL or (token.startswith("[") and token.endswith("]")):
        return token
    return token[1:] if token.startswith(SPACE) else "##" + token


def _added(tokenizer: Tokenizer, names: list[str]) -> list[Json]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    named = set(roles(tokenizer).values()) if tokenizer.kind == "bert" else set()
    rows = enumerate(zip(names, tokenizer.types, strict=True))
    return [
        {"id": i, "content": name, **plain, "special": kind != TokenType.USER_DEFINED}
        for i, (name, kind) in rows
        if name and (kind in _ADDED or i in named)
    ]


def post_processor(tokenizer: Tokenizer) -> Json | None:
    """What stands around a text; llama.cpp's defaults where the file does not say."""
    before, behind = around(tokenizer)
    if not before and not behind:
        plain = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        return plain if _letters(tokenizer) else None
    first, second = ({"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB"))
    used = dict([*before, *behind])
    bert = tokenizer.kind == "bert"
    one = [_special(name, 0) for name, _ in before], [_special(name, 0) for name, _ in behind]
    two = [] if bert else [_special(name, 1) for name, _ in before]
    return {
        "type": "TemplateProcessing",
        "single": [*one[0], first, *one[1]],
        "pair": [*one[0], first, *one[1], *two, second, *[_special(name, 1) for name, _ in behind]],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in used.items()},
    }


def _letters(tokenizer: Tokenizer) -> bool:
    return tokenizer.kind == "gpt2" and _pre(tokenizer).byte_level


def _special(name: str, kind: int) -> Json:
    return {"SpecialToken": {"id": name, "type_id": kind}}


def around(tokenizer: Tokenizer) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """(spelling, id) of what llama.cpp puts ahead of a text and behind it."""
    kind, flags = tokenizer.kind, tokenizer.flags
    first = flags.get("add_bos_token", kind in ("llama", "bert") or (kind in ("gpt2", "gemma4") and _pre(tokenizer).add_bos))
    last = flags.get("add_eos_token", kind in ("t5", "bert"))
    names, ids = _spelled(tokenizer), roles(tokenizer)
    before, behind = ids.get("bos") if first else None, ids.get("sep" if kind == "bert" else "eos") if last else None
    return [(names[i], i) for i in (before,) if i is not None], [(names[i], i) for i in (behind,) if i is not None]


def _pre(tokenizer: Tokenizer) -> Pre:
    name = "gemma4" if tokenizer.kind == "gemma4" else tokenizer.pre or "default"
    if name not in BY_NAME:
        raise _declined("pre", f"the pre-tokenizer '{name}' is not known")
    return BY_NAME[name]


def _bpe(tokenizer: Tokenizer, merges: list[list[str]], **more: Any) -> Json:
    vocabulary = {token: i for i, token in enumerate(tokenizer.tokens)}
    known = [pair for pair in merges if pair[0] in vocabulary and pair[1] in vocabulary and "".join(pair) in vocabulary]
    plain = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    return {"type": "BPE", **plain, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **more,
            "vocab": vocabulary, "merges": known}  # fmt: skip


def _pairs(tokenizer: Tokenizer) -> list[list[str]]:
    parted = ((merge, merge.index(" ", 1)) for merge in tokenizer.merges if " " in merge[1:])
    return [[merge[:at], merge[at + 1 :]] for merge, at in parted]


def _byte_level(tokenizer: Tokenizer) -> Json:
    pre = _pre(tokenizer)
    steps: list[Json] = [_split(expression) for expression in pre.expressions]
    if not pre.byte_level:
        model = _bpe(tokenizer, _pairs(tokenizer), byte_fallback=True, fuse_unk=True)
        return {"normalizer": _replace(" ", SPACE), "pre_tokenizer": steps[0], "decoder": _spaced(False), "model": model}
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    model = _bpe(tokenizer, _pairs(tokenizer), ignore_merges=pre.ignore_merges)
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "decoder": decoder, "model": model}


def _split(expression: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def _replace(pattern: str, content: str) -> Json:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _spaced(prefix: bool) -> Json:
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {"type": "Sequence", "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}


def _sentencepiece(tokenizer: Tokenizer) -> Json:
    prefix = tokenizer.flags.get("add_space_prefix", True)
    ahead = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    unknown = tokenizer.tokens[roles(tokenizer)["unk"]]
    model = _bpe(tokenizer, from_scores(tokenizer), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    normalizer = {"type": "Sequence", "normalizers": [*ahead, _replace(" ", SPACE)]}
    return {"normalizer": normalizer, "decoder": _spaced(prefix), "model": model}


def _unigram(tokenizer: Tokenizer) -> Json:
    flags = tokenizer.flags
    steps: list[Json] = []
    if tokenizer.charsmap:
        encoded = base64.b64encode(tokenizer.charsmap).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if flags.get("remove_extra_whitespaces", False):
        steps.append({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    scheme = "always" if flags.get("add_space_prefix", False) else "never"
    space = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}
    rows = [[token, score] for token, score in zip(tokenizer.tokens, scores(tokenizer), strict=True)]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": space,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": roles(tokenizer)["unk"], "vocab": rows, "byte_fallback": False},
    }


def _wordpiece(tokenizer: Tokenizer) -> Json:
    flags, names = tokenizer.flags, _spelled(tokenizer)
    lower = flags.get("normalizer.lowercase", True)
    normalizer = {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": lower,
        "strip_accents": flags.get("normalizer.strip_accents"),
    }  # fmt: skip
    model = {
        "type": "WordPiece", "unk_token": names[roles(tokenizer)["unk"]], "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {name: i for i, name in enumerate(names)},
    }  # fmt: skip
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    return {"normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": decoder, "model": model}


_MAKERS: Mapping[str, Callable[[Tokenizer], Json]] = {
    "gpt2": _byte_level, "gemma4": _byte_level, "llama": _sentencepiece, "t5": _unigram, "bert": _wordpiece,
}  # fmt: skip
