"""Named closeness: what "the same" means for a precision, and whether two arrays are.

Grammar: `exact | ulp(n) | close(rtol, atol) | snr(dB) | top1(share) | steps(n)`, alternatives joined by ` or `.
NaN agrees only with NaN at the same place, infinities only with the same infinity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array


@dataclass(frozen=True)
class Difference:
    """How far `got` is from `ref`; snr in dB (inf: equal), top1 the share of rows with the same arg-max."""

    max_abs: float
    max_rel: float
    snr: float
    top1: float | None
    special: bool
    """Whether shapes, NaNs and infinities agree."""


@dataclass(frozen=True)
class Closeness:
    """A parsed bound: it holds when any of its alternatives holds."""

    alternatives: tuple[tuple[str, tuple[float, ...]], ...]
    arity: ClassVar[dict[str, int]] = {"exact": 0, "ulp": 1, "close": 2, "snr": 1, "top1": 1, "steps": 1}

    @classmethod
    def parse(cls, text: str) -> Closeness:
        """Read a bound; raises UsageError naming the grammar."""
        return cls(tuple(_parse_one(part.strip()) for part in text.split(" or ")))

    def __str__(self) -> str:
        return " or ".join(name + _arguments(values) for name, values in self.alternatives)

    @property
    def share(self) -> float | None:
        """The share of a top1 alternative."""
        return self._argument("top1")

    @property
    def decibels(self) -> float | None:
        """The ratio of an snr alternative."""
        return self._argument("snr")

    def _argument(self, kind: str) -> float | None:
        return next((values[0] for name, values in self.alternatives if name == kind), None)

    def holds(self, ref: Array, got: Array, *, step: float | None = None) -> bool:
        """Whether `got` is as close to `ref` as named; `step` is the size of one quantization step."""
        if ref.shape != got.shape:
            return False
        if not is_numeric(ref):
            return bool(np.array_equal(ref, got))
        return any(_CHECKS[name](ref, got, values, step) for name, values in self.alternatives)


def is_numeric(array: Array) -> bool:
    """Whether arithmetic makes sense; ml_dtypes report kind 'V' but convert to float."""
    return array.dtype.kind in "biufcV"


def _arguments(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})" if values else ""


def _parse_one(text: str) -> tuple[str, tuple[float, ...]]:
    match = re.fullmatch(r"(\w+)(?:\(([^()]*)\))?", text)
    name = match.group(1) if match else ""
    raw = [part for part in (match.group(2) or "").split(",") if part.strip()] if match else []
    try:
        values = tuple(float(part) for part in raw)
    except ValueError:
        values = ()
        name = ""
    if Closeness.arity.get(name) != len(values):
        raise UsageError(
            f"'{text}' is not a named closeness",
            fix="Write one of: exact, ulp(1), close(1e-4, 1e-4), snr(40), top1(0.99), steps(1), or two with ' or '",
        )
    return name, values


def wide(array: Array) -> Array:
    """float64 (complex128) copy for measuring."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _agree_specially(ref: Array, got: Array) -> bool:
    if not np.array_equal(np.isnan(ref), np.isnan(got)):
        return False
    infinite = np.isinf(ref) | np.isinf(got)
    return bool(np.array_equal(ref[infinite], got[infinite], equal_nan=True))


def _gap(a: Array, b: Array) -> Array:
    """|a - b| where both are finite, else 0: infinities and NaNs are judged by `_agree_specially`."""
    finite = np.isfinite(a) & np.isfinite(b)
    gap: Array = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0))
    return gap


def measure(ref: Array, got: Array) -> Difference:
    """Differences over the finite elements of two arrays of the same shape."""
    if ref.shape != got.shape or not is_numeric(ref) or not is_numeric(got):
        same = ref.shape == got.shape and bool(np.array_equal(ref, got))
        return Difference(
            0.0 if same else np.inf, 0.0 if same else np.inf, np.inf if same else -np.inf, None, same
        )
    a, b = wide(ref), wide(got)
    special = _agree_specially(a, b)
    finite = np.isfinite(a) & np.isfinite(b)
    x, y = a[finite], b[finite]
    delta = np.abs(x - y)
    max_abs = float(delta.max(initial=0.0))
    scale = float(np.abs(x).max(initial=0.0))
    signal, noise = float(np.sum(np.abs(x) ** 2)), float(np.sum(delta**2))
    snr = np.inf if noise == 0 else 10 * np.log10(signal / noise) if signal > 0 else -np.inf
    return Difference(max_abs, max_abs / scale if scale else max_abs, float(snr), _top1(a, b), special)


def _top1(a: Array, b: Array) -> float | None:
    """Share of rows with the same arg-max; only for things that look like scores."""
    if a.ndim < 2 or a.shape[-1] < 2 or a.size == 0 or a.dtype.kind == "c":
        return None
    return float(np.mean(np.argmax(a, axis=-1) == np.argmax(b, axis=-1)))


def _exact(ref: Array, got: Array, _values: tuple[float, ...], _step: float | None) -> bool:
    a, b = wide(ref), wide(got)
    return bool(np.array_equal(a, b, equal_nan=True))


def _ulp(ref: Array, got: Array, values: tuple[float, ...], _step: float | None) -> bool:
    if ref.dtype.kind != "f":
        return _exact(ref, got, values, None)
    a, b = wide(ref), wide(got)
    with np.errstate(all="ignore"):  # the spacing of the largest float is not one
        spacing = np.spacing(np.abs(ref)).astype(np.float64)
    gap = _gap(a, b)
    return _agree_specially(a, b) and bool(np.all((gap == 0) | (gap <= values[0] * spacing)))


def _close(ref: Array, got: Array, values: tuple[float, ...], _step: float | None) -> bool:
    """|got - ref| <= rtol |ref| + atol max(1, max |ref|): cancellation is judged at the tensor's own scale."""
    a, b = wide(ref), wide(got)
    finite = np.isfinite(a) & np.isfinite(b)
    scale = max(1.0, float(np.abs(a[finite]).max(initial=0.0)))
    allowed = np.where(finite, values[0] * np.abs(a) + values[1] * scale, np.inf)
    return _agree_specially(a, b) and bool(np.all(_gap(a, b) <= allowed))


def _snr(ref: Array, got: Array, values: tuple[float, ...], _step: float | None) -> bool:
    found = measure(ref, got)
    return found.special and found.snr >= values[0]


def _same_top1(ref: Array, got: Array, values: tuple[float, ...], _step: float | None) -> bool:
    found = measure(ref, got)
    return found.special and found.top1 is not None and found.top1 >= values[0]


def _steps(ref: Array, got: Array, values: tuple[float, ...], step: float | None) -> bool:
    """Within n quantization steps: of `step` for floats, of 1 for integers."""
    unit = step if step else 1.0 if ref.dtype.kind in "biu" else 0.0
    a, b = wide(ref), wide(got)
    return _agree_specially(a, b) and bool(np.all(_gap(a, b) <= values[0] * unit * (1 + 1e-6)))


_CHECKS = {"exact": _exact, "ulp": _ulp, "close": _close, "snr": _snr, "top1": _same_top1, "steps": _steps}
