"""Numbers as people read them. Sizes are binary multiples, counts decimal ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "–"


def size(count: int | None) -> str:
    """Bytes: '512 B', '1.4 KiB', '97.5 MiB'."""
    if count is None:
        return DASH
    return _scaled(float(count), 1024.0, (" B", " KiB", " MiB", " GiB", " TiB"))


def count(number: int | None) -> str:
    """Parameters or operations: '812', '3.4 M', '1.2 G'."""
    if number is None:
        return DASH
    return _scaled(float(number), 1000.0, ("", " k", " M", " G", " T"))


def _scaled(value: float, step: float, units: Sequence[str]) -> str:
    if abs(value) < step:
        return f"{value:.0f}{units[0]}"
    for unit in units[1:-1]:
        value /= step
        if abs(value) < step - 0.05:
            return f"{value:.1f}{unit}"
    return f"{value / step:.1f}{units[-1]}"


def seconds(value: float | None) -> str:
    """Durations: '3.1 ms', '0.42 s', '18 s', '2 min 5 s'."""
    if value is None:
        return DASH
    if value < 0.1:
        return f"{value * 1000:.1f} ms"
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def milliseconds(value: float | None) -> str:
    """Durations given in milliseconds."""
    return DASH if value is None else seconds(value / 1000)


def number(value: float | None) -> str:
    """A difference: '0', '1.19e-07', '0.034'."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.2e}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.3g}"


def decibel(value: float | None) -> str:
    """A signal-to-noise ratio; None means that nothing differed, or that it is undefined."""
    return DASH if value is None else f"{value:.1f} dB"


def percent(share: float | None) -> str:
    """A share: '99.2 %'."""
    return DASH if share is None else f"{share * 100:.4g} %"


def shape(dims: Sequence[int | str | None]) -> str:
    """'1×3×224×224'; 'scalar' for rank 0, '?' for an unknown dimension."""
    return "×".join("?" if dim is None else str(dim) for dim in dims) or "scalar"


def bars(shares: Sequence[float]) -> str:
    """A distribution as one line of blocks, by the logarithm of each share: a thousandth of the largest still shows."""
    top = max(shares, default=0.0)
    if top <= 0:
        return ""
    heights = (1 + math.log10(share / top) / 3.5 if share > 0 else -1.0 for share in shares)
    return "".join(" " if height < 0 else "▁▂▃▄▅▆▇█"[min(int(height * 8), 7)] for height in heights)
