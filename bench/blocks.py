"""Encoders of number formats beside ggml's own, same weights, same threads, in alternating pairs: weights per second.

    python bench/blocks.py [--formats Q4_K,Q6_K] [--million 8] [--pairs 5]

Needs a llama.cpp (see scripts/llama_runtime.py). The bytes of each pair are compared; a difference ends the run. `decode` is
ours beside ggml's too. Rows of 4096 in bands of 64 rows, which the threads take in turn, as writers do; the memory of the
results is taken anew for each band, on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bessemer.blocks import codec, codecs, decoded, encoded
from bessemer.runners.llama.ggml import dequantized, quantized
from bessemer.wire.gguf.types import BY_NAME

COLUMNS, BAND = 4096, 64
ALONE = ("F32", "F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K")
"""Formats that ggml does not convert."""

Timed = tuple[float, float, float]
"""Our seconds, ggml's, how many times ours ggml takes."""


def measure(run: Callable[[slice], Any], rows: int, threads: int) -> float:
    """Seconds for all bands on this many threads."""
    bands = [slice(start, start + BAND) for start in range(0, rows, BAND)]
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(run, bands))
        return time.perf_counter() - start


def pairs(ours: Callable[[slice], Any], theirs: Callable[[slice], Any], rows: int, threads: int, count: int) -> Timed:
    """Median seconds of both, and median of the ratios within pairs."""
    found = [(measure(ours, rows, threads), measure(theirs, rows, threads)) for _ in range(count)]
    mine, other = zip(*found, strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(b / a for a, b in found)


def encoding(name: str, weights: Any, importance: Any, threads: int, count: int) -> Timed:
    if not np.array_equal(encoded(weights, name, importance), quantized(weights, name, importance)):
        raise SystemExit(f"{name}: bytes differ")
    return pairs(
        lambda rows: encoded(weights[rows], name, importance),
        lambda rows: quantized(weights[rows], name, importance),
        len(weights), threads, count,
    )  # fmt: skip


def decoding(name: str, rows: int, threads: int, count: int) -> Timed:
    held = np.random.default_rng(1).integers(0, 256, (rows, BY_NAME[name].row_bytes(COLUMNS)), dtype=np.uint8)
    if not np.array_equal(decoded(held, name), dequantized(held, name), equal_nan=True):
        raise SystemExit(f"{name}: decoded weights differ")
    return pairs(
        lambda band: decoded(held[band], name), lambda band: dequantized(held[band], name), rows, threads, count
    )


def lines(names: list[str], million: float, count: int) -> Iterator[str]:
    draw = np.random.default_rng(0)
    rows = max(1, round(million * 1e6 / COLUMNS / BAND)) * BAND
    weights = (draw.standard_normal((rows, COLUMNS)) * 0.02).astype(np.float32)
    importance = draw.random(COLUMNS, np.float32) + np.float32(0.01)
    size = weights.size / 1e6
    for name in names:
        ways: dict[str, Callable[[int], Timed]] = {}
        if codec(name).encode:
            if not codec(name).needs_importance:
                ways["encode"] = lambda threads, name=name: encoding(name, weights, None, threads, count)
            ways["weighted"] = lambda threads, name=name: encoding(name, weights, importance, threads, count)
        ways["decode"] = lambda threads, name=name: decoding(name, rows, threads, count)
        for way, run in ways.items():
            for threads in (1, 4):
                mine, other, ratio = run(threads)
                yield f"{name:8} {way:9} {threads}  {size / mine:9.0f}  {size / other:9.0f}  {ratio:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--formats", default=",".join(name for name in codecs() if name not in ALONE))
    parser.add_argument("--million", type=float, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    print("M weights/s on N threads     ours       ggml   ratio (median of pairs)")
    for line in lines(args.formats.split(","), args.million, args.pairs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
