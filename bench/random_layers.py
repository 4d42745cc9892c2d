"""Thousands of random Keras layers: drawn and run in ONNX Runtime, evaluated in NumPy, some of them on the whole road.

    python bench/random_layers.py --count 2000 --seed 0 [--to tflite --to ort --sample 200] [family ...]

Prints how many distinct configurations were right, wrong and declined; exits with 4 where one is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.unit.sources.keras import layer_cases


def main() -> int:
    """0 where nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*layer_cases.FAMILIES, []])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", action="append", default=[], help="a target that a sample is converted for and run in")
    parser.add_argument("--sample", type=int, default=100, help="how many that are")
    asked = parser.parse_args()
    start, known = time.perf_counter(), layer_cases.frameworks()
    made = layer_cases.cases(asked.seed, asked.count, asked.families)
    counts: Counter[str] = Counter()
    for number, case in enumerate(made):
        verdicts = layer_cases.judged(known, case, number)
        sampled = number * asked.sample // len(made) != (number + 1) * asked.sample // len(made)
        for target in asked.to if sampled else ():
            with tempfile.TemporaryDirectory() as folder:
                verdicts.append((target, layer_cases.in_target(target, known, case, number, Path(folder))))
        for what, problem in verdicts:
            word = "right" if not problem else "declined" if problem.startswith("declined") else "wrong"
            counts[f"{what} {'refused' if what == 'oracle' else word}"] += 1
            if problem:
                print(f"{what}: {case.key}: {problem}"[:600])
    print(f"{len(made)} distinct configurations of {len({case.kind for case in made})} classes, "
          f"{time.perf_counter() - start:.0f} s: {dict(sorted(counts.items()))}")  # fmt: skip
    return 4 if any("wrong" in key for key in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
