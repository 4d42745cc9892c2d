"""What a tokenizer puts around a text, found by letting it: the tokens ahead, behind and between two texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bessemer.ir.tokenizer import Tokenizer


def framed(tokenizer: Tokenizer, library: Any) -> Tokenizer:
    """`special` and the flags add_bos_token, add_eos_token, add_sep_token after the source's post-processor.

    llama.cpp puts the tokens named bos and eos around a text, so that what the source puts there takes these names; the
    end that the source names otherwise becomes 'eot'.
    """
    before, between, behind = _parts(library)
    special = dict(tokenizer.special)
    _named(special)
    if len(before) == 1:
        special["bos"] = before[0]
    if len(behind) == 1 and behind[0] != special.get("eos"):
        special |= {"eot": special["eos"]} if "eos" in special and tokenizer.kind != "bert" else {}
        special["eos"] = behind[0]
    flags = {"add_bos_token": len(before) == 1, "add_eos_token": len(behind) == 1}
    if between:
        separators = {special[role] for role in ("sep", "eos") if role in special}
        doubled = len(between) == 2 and between[1] in separators
        flags["add_sep_token"] = doubled or (not behind and between[0] in separators)
    notes = tokenizer.notes
    if len(before) > 1 or len(behind) > 1:
        notes = (*notes, f"the source puts {len(before)} tokens ahead and {len(behind)} behind, llama.cpp one each at most")
    return replace(tokenizer, special=special, flags={**tokenizer.flags, **flags}, notes=notes)


def _named(special: dict[str, int]) -> None:
    for role, other in (("bos", "cls"), ("eos", "sep")):
        if role not in special and other in special:
            special[role] = special[other]


def _parts(library: Any) -> tuple[list[int], list[int], list[int]]:
    library.no_padding()
    library.no_truncation()
    first, second = (library.encode(text, add_special_tokens=False).ids for text in ("a", "b"))
    before, behind = _around(library.encode("a").ids, first)
    pair = library.encode("a", "b").ids
    inner = pair[len(before) + len(first) : len(pair) - len(behind) - len(second)]
    return before, inner, behind


def _around(whole: list[int], part: list[int]) -> tuple[list[int], list[int]]:
    starts = range(len(whole) - len(part) + 1)
    at = next((i for i in starts if whole[i : i + len(part)] == part), 0)
    return whole[:at], whole[at + len(part) :]


def normalizer_flags(normalizer: Any) -> dict[str, bool]:
    """'normalizer.lowercase' and 'normalizer.strip_accents' as the steps of a normalizer state them."""
    if not isinstance(normalizer, dict):
        return {}
    kind = normalizer.get("type")
    if kind == "Sequence":
        steps = [normalizer_flags(step) for step in normalizer.get("normalizers", [])]
        return {name: value for step in steps for name, value in step.items()}
    if kind in ("Lowercase", "StripAccents"):
        return {"normalizer.lowercase" if kind == "Lowercase" else "normalizer.strip_accents": True}
    if kind != "BertNormalizer":
        return {}
    stated = {f"normalizer.{name}": normalizer.get(name) for name in ("lowercase", "strip_accents")}
    return {name: value for name, value in stated.items() if isinstance(value, bool)}
