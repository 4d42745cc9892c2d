"""Every TensorFlow operator that is read, at random against TensorFlow itself.

    python bench/tensorflow_operators.py [--cases N] [--seed N] [--litert] [OPERATOR ...]

Each case is computed four times: by the numpy evaluator, and by the drawn graph in ONNX Runtime as it is, with operands
that stand in other axis orders, and with some dims unbound. Prints how many cases, comparisons, wrong results and
declined graphs there were, and what was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.unit.sources.tensorflow.operator_cases import MAKERS, cases
from tests.unit.sources.tensorflow.trial import WAYS, Tally, in_litert, judge

TOGETHER = 60
"""Cases in one TensorFlow graph."""


def main(count: int, seed: int, only: tuple[str, ...], litert: bool) -> int:
    """The number of wrong results. litert: the drawn graphs are converted to TFLite and run there."""
    folder = tempfile.TemporaryDirectory()
    ways, run = (("drawn", "moved"), in_litert(Path(folder.name))) if litert else (WAYS, None)
    start, tally = time.perf_counter(), Tally()
    made = cases(count, seed, only)
    for place in range(0, count, TOGETHER):
        judge(made[place : place + TOGETHER], seed + place, tally, ways, run)
    bound = [line for line in tally.declined if line.split(" ")[1] != "unbound"]
    print(json.dumps({
        "operators": len(tally.operators), "of": len(only or MAKERS), "cases": tally.cases,
        "distinct": len({case.key() for case in made}), "comparisons": tally.comparisons, "wrong": len(tally.wrong),
        "declined_bound": len(bound), "declined_unbound": len(tally.declined) - len(bound),
        "refused_by_tensorflow": len(tally.refused_there), "seconds": round(time.perf_counter() - start, 1),
    }))  # fmt: skip
    for line in tally.wrong[:40]:
        print(line[:400])
    return len(tally.wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--litert", action="store_true", help="convert to TFLite and run in LiteRT")
    parser.add_argument("operators", nargs="*")
    given = parser.parse_args()
    sys.exit(bool(main(given.cases, given.seed, tuple(given.operators), given.litert)))
