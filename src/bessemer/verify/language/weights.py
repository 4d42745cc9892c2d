"""Weights read back: the artifact's file through its reader, decoded, beside the original's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf, log10

import numpy as np

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.verify.evidence import LanguageWeights
from bessemer.verify.language.bounds import floor
from bessemer.weights.views import Floats, floats, is_plain

AT_ONCE = 1 << 21
"""Elements of a tensor that are compared at once, in each thread."""


@dataclass
class _Energy:
    """Of the values and of what they differ by."""

    same: bool = True
    signal: float = 0.0
    noise: float = 0.0

    @property
    def ratio(self) -> float:
        """dB; inf for equal values."""
        if self.noise == 0.0:
            return inf
        return 10 * log10(self.signal / self.noise) if self.signal and np.isfinite(self.noise) else -inf


@dataclass
class WeightProof:
    """lines: one per type; problems: tensors that are not there, or have another shape; equal: every value of every tensor
    is the original's."""

    lines: list[LanguageWeights] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    equal: bool = True

    @property
    def within(self) -> bool:
        """Whether every tensor is there and keeps its type's floor."""
        return not self.problems and all(line.within for line in self.lines)


def compare(
    original: Mapping[str, Lazy],
    artifact: Mapping[str, Lazy],
    *,
    importance: bool = False,
    threads: int = 4,
    types: Mapping[str, str] | None = None,
) -> WeightProof:
    """Every tensor of the original beside the one of its name. Both have the same names and layout (the hub form, or roles).

    Tensors of types without numbers (U8) must be the same bytes. importance: whether an importance matrix was used.
    types: what the artifact's file stores, where its tensors were decoded since.
    """
    found = WeightProof()
    found.problems = [*_absent(original, artifact)]
    shared = [(held, artifact[name]) for name, held in original.items() if name in artifact]
    fitting = [(one, two) for one, two in shared if one.size == two.size]
    strange = [one.name for one, two in shared if one.size != two.size]
    found.problems += [f"'{name}' has another size in the artifact" for name in strange]
    with ThreadPoolExecutor(threads, "bessemer-weights") as pool:
        energies = list(pool.map(lambda pair: _energy(*pair), fitting))
    found.equal = not found.problems and all(held.same for held in energies)
    by_type: dict[str, list[tuple[str, _Energy]]] = {}
    for (_, two), energy in zip(fitting, energies, strict=True):
        by_type.setdefault((types or {}).get(two.name, two.type), []).append((two.name, energy))
    found.lines = [_line(kind, held, floor(kind, importance)) for kind, held in by_type.items()]
    return found


def _absent(original: Mapping[str, Lazy], artifact: Mapping[str, Lazy]) -> Iterator[str]:
    for name in original:
        if name not in artifact:
            yield f"'{name}' is not in the artifact"
    for name in artifact:
        if name not in original:
            yield f"'{name}' is in the artifact alone"


def _line(kind: str, held: list[tuple[str, _Energy]], least: float) -> LanguageWeights:
    name, worst = min(held, key=lambda item: item[1].ratio)
    ratio = worst.ratio
    return LanguageWeights(
        type=kind, tensors=len(held), identical=sum(energy.same for _, energy in held), worst=name,
        snr=None if ratio == inf else max(ratio, -999.0), floor=least, within=ratio >= least,
    )  # fmt: skip


def _energy(one: Lazy, two: Lazy) -> _Energy:
    found = _Energy()
    if not _numbers(one) or not _numbers(two):
        same = one.type == two.type and np.array_equal(_bytes(one), _bytes(two))
        return _Energy(same, 1.0, 0.0 if same else inf)
    step = max(1, AT_ONCE // max(one.columns, 1))
    for start in range(0, one.rows, step):
        stop = min(one.rows, start + step)
        _add(found, floats(one, start, stop), _same_rows(two, one, start, stop))
    return found


def _same_rows(tensor: Lazy, like: Lazy, start: int, stop: int) -> Floats:
    """The values that stand where rows start .. stop of `like` do, whose rows may be longer or shorter."""
    if tensor.columns == like.columns:
        return floats(tensor, start, stop)
    first, last = start * like.columns, stop * like.columns
    rows = floats(tensor, first // tensor.columns, -(-last // tensor.columns)).reshape(-1)
    skipped = first % tensor.columns
    return rows[skipped : skipped + last - first].reshape(stop - start, like.columns)


def _add(found: _Energy, one: Floats, two: Floats) -> None:
    wide = one.astype(np.float64)
    found.signal += float(np.sum(wide * wide))
    if np.array_equal(one, two, equal_nan=True):
        return
    found.same = False
    found.noise += float(np.sum((wide - two) ** 2))


def _numbers(tensor: Lazy) -> bool:
    return not is_plain(tensor.type) or tensor.type in ("F64", "F32", "F16", "BF16")


def _bytes(tensor: Lazy) -> Bytes:
    return tensor.read(0, tensor.rows).reshape(-1)
