"""Special tokens that llama.cpp finds by their spelling (`src/llama-vocab.cpp`), whatever the file says of their type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bessemer.ir.tokenizer import Tokenizer

GUESSED: Mapping[str, tuple[str, ...]] = {
    "eot": (
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ),
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}  # fmt: skip

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {"bos": 1, "eos": 2, "unk": 0},
    "bert": {"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103},
    "t5": {"eos": 1, "unk": 2, "pad": 0},
}
"""Ids that llama.cpp takes where the file names none."""

ENDINGS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
))  # fmt: skip
"""Tokens at which llama.cpp stops generating."""

CONTROL = ENDINGS.union(*GUESSED.values())
"""Spellings that make a token a control token for llama.cpp."""

_NOT_AN_END = ("<|tool_response>", "<|plamo:eos|>")  # a vocabulary with one of these has '</s>' as a normal token


def control(tokenizer: Tokenizer) -> frozenset[str]:
    """`CONTROL`, less '</s>' where llama.cpp knows it to be a normal token."""
    return CONTROL - {"</s>"} if any(token in tokenizer.tokens for token in _NOT_AN_END) else CONTROL


def roles(tokenizer: Tokenizer) -> dict[str, int]:
    """`special` and llama.cpp's defaults."""
    default = DEFAULTS.get(tokenizer.kind, {})
    return {role: i for role, i in default.items() if i < len(tokenizer.tokens)} | dict(tokenizer.special)


def scores(tokenizer: Tokenizer) -> tuple[float, ...]:
    """By id; zeros where the file holds none, as llama.cpp takes them."""
    return tokenizer.scores or (0.0,) * len(tokenizer.tokens)


def guessed(tokenizer: Tokenizer) -> dict[str, int]:
    """The roles that llama.cpp will find by itself, beyond those that `special` names. Where several tokens fit one role
    llama.cpp takes any of them; here it is the first of the list."""
    ids = {token: i for i, token in enumerate(tokenizer.tokens)}
    found = {role: [ids[name] for name in names if name in ids] for role, names in GUESSED.items()}
    return {role: hits[0] for role, hits in found.items() if hits and role not in tokenizer.special}


def endings(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids at which llama.cpp stops generating: named ends, and tokens whose spelling is known to end a text or a turn."""
    roles = {**guessed(tokenizer), **tokenizer.special}
    named = {roles[role] for role in ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep") if role in roles}
    spelled = ENDINGS & control(tokenizer)
    return tuple(sorted(named | {i for i, token in enumerate(tokenizer.tokens) if token in spelled}))


def ended(tokenizer: Tokenizer, ends: Sequence[int]) -> Tokenizer:
    """With the ids at which generation ends (generation_config.json) in the roles that GGUF has for them, where llama.cpp
    does not know them by their spelling; a note for those that are left over."""
    unknown = [i for i in ends if i not in endings(tokenizer) and 0 <= i < len(tokenizer.tokens)]
    free = [role for role in ("eos", "eot", "eom") if role not in tokenizer.special]
    special = {**tokenizer.special, **dict(zip(free, unknown, strict=False))}
    left = [tokenizer.tokens[i] for i in unknown[len(free) :]]
    note = f"generation ends at {', '.join(map(repr, left))} too, for which GGUF has no role"
    return replace(tokenizer, special=special, notes=(*tokenizer.notes, *([note] if left else [])))
