"""The table of an architecture's tensors: its rows, and a walk over them from one side's names to the other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bessemer.architectures.transforms import SAME, Transform
from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import Blocker

Config = Mapping[str, Any]
Applies = Callable[[Config, int], bool]
"""Whether a row of the table is for this layer of this model."""
BACK = ("backward", "unrole")
"""Ways through a table that end at Hugging Face's names."""


def always(config: Config, layer: int) -> bool:
    """A tensor of every layer."""
    return True


@dataclass(frozen=True)
class Pair:
    """A row of the table of tensors: names on both sides and what lies between them.

    optional: it may be missing (biases); when: which layers have it; layers: key of the count that `{i}` runs over, and
    parts: of the count that `{e}` runs over, where they are not the family's.
    """

    gguf: str | tuple[str, ...]
    hf: str | tuple[str, ...]
    transform: Transform = SAME
    optional: bool = False
    when: Applies = always
    layers: str = ""
    parts: str = ""


BROKEN = (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError, IndexError)
"""What arithmetic on settings of a wrong kind raises."""
MOST = 1024
"""Layers, and experts of a layer, that any model has; llama.cpp reads no more than half."""


class Walk:
    """One pass over a table of tensors."""

    def __init__(self, have: dict[str, Lazy], config: Config, way: str, blockers: list[Blocker]) -> None:
        self.have, self.config, self.way, self.blockers = have, config, way, blockers
        self.made: dict[str, Lazy] = {}
        self._used: set[str] = set()
        self._wanted: dict[str, tuple[str, ...]] = {}

    def row(self, pair: Pair, gguf: list[str], hf: list[str]) -> None:
        """One row for one layer."""
        sources, results = (gguf, hf) if self.way in BACK else (hf, gguf)
        if all(name in self._wanted and not self._wanted[name] for name in gguf):
            return  # an earlier spelling was there
        absent = [name for name in sources if name not in self.have] if sources and results else gguf
        if not absent:
            self._wanted.update(dict.fromkeys(gguf, ()))
            self._apply(pair.transform, sources, results)
        elif not (pair.optional and len(absent) == len(sources)):
            self._wanted = dict.fromkeys(gguf, tuple(absent)) | self._wanted

    def finish(self) -> None:
        """Tell what is missing and what is left over."""
        missing = list(dict.fromkeys(name for names in self._wanted.values() for name in names))
        left = [name for name in self.have if name not in self._used]
        self.blockers += [tensor_blocker(name, "it is missing") for name in few(missing)]
        self.blockers += [tensor_blocker(name, "the table has no place for it") for name in few(left)]

    def _apply(self, transform: Transform, sources: list[str], results: list[str]) -> None:
        self._used.update(sources)
        try:
            made = getattr(transform, self.way)([self.have[name] for name in sources], results, self.config)
        except BROKEN as error:
            self.blockers.append(tensor_blocker(sources[0], f"it does not fit the settings: {error}"))
            return
        self.made |= {tensor.name: tensor for tensor in made}


def named(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (names,) if isinstance(names, str) else names


def expanded(names: str | tuple[str, ...], layer: int, parts: int) -> Iterator[str]:
    """Templates with the layer filled in, and one name for each part where they count parts."""
    for name in named(names):
        name = name.replace("{i}", str(layer))
        yield from (name.replace("{e}", str(part)) for part in range(parts)) if "{e}" in name else (name,)


def counted(config: Config, key: str) -> int:
    """A count of the complete config; 0 for one that no model has."""
    count = config.get(key)
    return count if isinstance(count, int) and 0 <= count <= MOST else 0


def few(names: list[str]) -> list[str]:
    """Names for a message: the first twenty, and how many more."""
    return names if len(names) <= 20 else [*names[:20], f"... and {len(names) - 20} more"]


def tensor_blocker(name: str, reason: str) -> Blocker:
    """A reason against a tensor."""
    return Blocker(node=name, op="tensor", rule="tensors", reason=reason)
