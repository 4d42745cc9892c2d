"""Types that a tokenizer's keys have in every file that llama.cpp loads; other settings are the architecture's matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bessemer.ir.errors import UnreadableInput
from bessemer.wire.gguf.values import ArrayOf, Kind, ValueType

PREFIX = "tokenizer."
INTEGERS = (
    ValueType.UINT8, ValueType.INT8, ValueType.UINT16, ValueType.INT16, ValueType.UINT32, ValueType.INT32, ValueType.UINT64,
    ValueType.INT64,
)  # fmt: skip
FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)
TEXT = (ValueType.STRING,)
LISTS: dict[str, tuple[ValueType, ...]] = {
    "tokenizer.ggml.tokens": TEXT, "tokenizer.ggml.merges": TEXT, "tokenizer.ggml.token_type": INTEGERS,
    "tokenizer.ggml.scores": (*FLOATS, *INTEGERS), "tokenizer.ggml.precompiled_charsmap": (ValueType.UINT8, ValueType.INT8),
    "tokenizer.chat_templates": TEXT,
}  # fmt: skip
TEXTS = ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template")
FLAGS = ("tokenizer.ggml.add_", "tokenizer.ggml.remove_extra_whitespaces")


def check_tokenizer(kinds: Mapping[str, Kind], path: Path) -> None:
    """Raises UnreadableInput for a tokenizer's key of another type than all readers expect."""
    for key, kind in kinds.items():
        if key.startswith(PREFIX) and not _fits(key, kind):
            said = f"an array of {kind.item.name}" if isinstance(kind, ArrayOf) else kind.name
            raise UnreadableInput(f"{path} is a broken or hostile GGUF file", why=f"'{key[:100]}' is {said}")


def _fits(key: str, kind: Kind) -> bool:
    if key in LISTS:
        return isinstance(kind, ArrayOf) and kind.item in LISTS[key]
    if key.endswith("_token_id"):
        return kind in INTEGERS
    if key in TEXTS:
        return kind is ValueType.STRING
    return not key.startswith(FLAGS) or kind is ValueType.BOOL
