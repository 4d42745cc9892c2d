"""What llama.cpp makes of a tokenizer's flat data, in Python: the yardstick that sources are held against.

One file per kind; each follows the algorithm that its docstring names. `tokenizes(tokenizer)` finds the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from bessemer.ir.errors import Blocker, Declined
from bessemer.ir.tokenizer import Tokenizer
from bessemer.tokenization.pretokenizers import BY_NAME

Encode = Callable[[str], list[int]]

_BY_KIND = {
    "llama": "sentencepiece", "gpt2": "byte_level", "gemma4": "byte_level", "bert": "wordpiece", "t5": "unigram",
    "rwkv": "greedy",
}  # fmt: skip


def known(tokenizer: Tokenizer) -> bool:
    """Whether `fragments` has an evaluator for it."""
    module = _BY_KIND.get(tokenizer.kind)
    return module is not None and (tokenizer.kind != "gpt2" or (tokenizer.pre or "default") in BY_NAME)


def fragments(tokenizer: Tokenizer) -> Encode:
    """Encoder of text that holds no special token. Raises Declined for a kind that has no evaluator."""
    module = _BY_KIND.get(tokenizer.kind)
    if module is None:
        reason = f"'{tokenizer.kind}' is not a kind of tokenizer that is known here"
        raise Declined("tokenizer", [Blocker("", "Tokenizer", "tokenizer.kind", reason)])
    encode: Encode = import_module(f"bessemer.tokenization.evaluate.{module}").encoder(tokenizer)
    return encode
