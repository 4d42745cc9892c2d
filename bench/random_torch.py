"""Random torch modules through torch.export and Bessemer, beside torch itself: how many agree, are declined, or differ.

python bench/random_torch.py [--count N] [--first SEED] [--target ort] [--bound 1e-4] [--verbose]
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "suite"))


def main() -> None:
    """Count, and name everything that differs."""
    import torch_modules

    from bessemer.ir.errors import BessemerError, Declined

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--target", default="ort")
    parser.add_argument("--bound", type=float, default=1e-4)
    parser.add_argument("--verbose", action="store_true")
    asked = parser.parse_args()
    seen: set[str] = set()
    counts: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    start = time.perf_counter()
    for seed in range(asked.first, asked.first + asked.count):
        item = torch_modules.drawn(seed)
        if item.text in seen:
            continue
        seen.add(item.text)
        try:
            with tempfile.TemporaryDirectory() as folder:
                told = torch_modules.departures(item, asked.target, Path(folder), asked.bound)
        except Declined as refusal:
            counts["declined"] += 1
            reasons.update({f"{blocker.op}: {blocker.reason}"[:110] for blocker in refusal.blockers})
            if asked.verbose:
                print(f"DECLINED {seed} {refusal}"[:400], flush=True)
            continue
        except BessemerError as error:
            told = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  # a stumble is counted as wrong, with its name
            told = f"{type(error).__name__}: {error}"
        counts["differs" if told else "agrees"] += 1
        if len(seen) % 100 == 0:
            print(f"{len(seen)} so far: {dict(counts)}", flush=True)
        if told:
            print(f"DIFFERS {seed}: {told[:300]} | {item.text[:600]}", flush=True)
    print(f"{len(seen)} distinct modules to {asked.target} in {time.perf_counter() - start:.0f} s: {dict(counts)}")
    for reason, count in reasons.most_common(12):
        print(f"  {count} declined: {reason}")


if __name__ == "__main__":
    main()
