"""Joined models beside their originals: each in its own runtime, one's outputs piped into the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, named_dtype
from bessemer.runners.base import Runner

End = tuple[str, str]
"""Label of a member, and the name of its input or output."""


@dataclass(frozen=True)
class Link:
    """What feeds an input: an output of an earlier member (`made`), or what another input is fed.

    order: input = transpose(source, order); dequantize, quantize: (scale, zero point, numpy name) of the source's or the
    input's integers; cast: numpy name of the type, empty for what arrives.
    """

    to: End
    source: End
    made: bool
    order: tuple[int, ...] | None = None
    dequantize: tuple[float, int, str] | None = None
    quantize: tuple[float, int, str] | None = None
    cast: str = ""

    def carried(self, array: Array) -> Array:
        """The array as it arrives."""
        moved = array if self.order is None else np.ascontiguousarray(array.transpose(self.order))
        if self.dequantize is not None:
            scale, zero, _ = self.dequantize
            moved = (moved.astype(np.int32) - zero).astype(np.float32) * np.float32(scale)
        if self.quantize is not None:
            scale, zero, kind = self.quantize
            limits = np.iinfo(kind)
            moved = np.clip(np.rint(moved / np.float32(scale)) + zero, limits.min, limits.max).astype(kind)
        return moved.astype(named_dtype(self.cast)) if self.cast else moved


class ChainRunner:
    """Members by label, in order. inputs, outputs: names of the whole -> the members' tensors."""

    def __init__(
        self, members: Mapping[str, Runner], links: Sequence[Link], inputs: Mapping[str, End], outputs: Mapping[str, End]
    ) -> None:
        self._members = dict(members)
        self._links = {link.to: link for link in links}
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        given = {label: {spec.name: spec for spec in runner.signature.inputs} for label, runner in members.items()}
        made = {label: {spec.name: spec for spec in runner.signature.outputs} for label, runner in members.items()}
        self.signature = Signature(_specs(self._inputs, given), _specs(self._outputs, made))

    @property
    def runtime(self) -> str:
        """Every runtime, in order, each once."""
        return ", then ".join(dict.fromkeys(runner.runtime for runner in self._members.values()))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        fed, made = self._flow(inputs, set())
        del fed
        return {name: made[end] for name, end in self._outputs.items()}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Values inside a member, asked for as 'label:name'."""
        asked: dict[str, list[str]] = {}
        for name in names:
            label, _, inner = name.partition(":")
            if label in self._members:
                asked.setdefault(label, []).append(inner)
        if not asked:
            return {}
        fed, made = self._flow(inputs, set(asked))
        found: dict[str, Array] = {}
        for label, wanted in asked.items():
            shown = {name: made[label, name] for name in wanted if (label, name) in made}
            rest = [name for name in wanted if name not in shown]
            shown |= self._members[label].tap(fed[label], rest) if rest else {}
            found |= {f"{label}:{name}": array for name, array in shown.items()}
        return found

    def _flow(self, inputs: Mapping[str, Array], keep: set[str]) -> tuple[dict[str, dict[str, Array]], dict[End, Array]]:
        """Run every member: what those in `keep` (and earlier ones) were fed, and all outputs."""
        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        entering = {end: inputs[name] for name, end in self._inputs.items()}
        fed: dict[str, dict[str, Array]] = {}
        made: dict[End, Array] = {}
        for label, runner in self._members.items():
            own = {spec.name: self._source((label, spec.name), entering, made) for spec in runner.signature.inputs}
            entering |= {(label, name): array for name, array in own.items()}
            made |= {(label, name): array for name, array in runner.run(own).items()}
            if label in keep:
                fed[label] = own
        return fed, made

    def _source(self, end: End, entering: Mapping[End, Array], made: Mapping[End, Array]) -> Array:
        link = self._links.get(end)
        if link is None:
            return entering[end]
        return link.carried((made if link.made else entering)[link.source])


def _specs(borders: Mapping[str, End], known: Mapping[str, Mapping[str, TensorSpec]]) -> tuple[TensorSpec, ...]:
    found = []
    for name, (label, tensor) in borders.items():
        spec = known[label].get(tensor)
        if spec is None:
            raise UsageError(f"'{label}' has no border called '{tensor}'", fix=f"It has: {', '.join(known[label])}")
        found.append(TensorSpec(name, spec.dtype, spec.shape))
    return tuple(found)
