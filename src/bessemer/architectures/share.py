"""Partial rotation: the share of a head that turns, which GGUF holds as a number of elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bessemer.architectures.settings import Config, Record
from bessemer.ir.errors import Blocker


def rotated(config: Config, key: str = "partial_rotary_factor") -> int:
    """Rotated elements of a head; `head_dim` must be in the config."""
    return int(config["head_dim"] * config.get(key, 1.0))


@dataclass(frozen=True)
class RotaryShare:
    """`partial_rotary_factor` (name: its key; usual: transformers' default for it) <-> 'rope.dimension_count'."""

    name: str = "partial_rotary_factor"
    usual: float = 1.0

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.name,)

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        return {"rope.dimension_count": rotated(config, self.name)}

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        width, heads = record.get("embedding_length"), record.get("attention.head_count")
        size = record.get("attention.key_length") or (width // heads if width and heads else None)
        dims = record.get("rope.dimension_count")
        return {self.name: dims / size} if dims and size and dims / size != self.usual else {}
