"""Small random models of many transformers architectures, converted for each of their tasks and verified.

    python bench/huggingface.py [--to ort] [--only bert,t5] [--keep FOLDER]

A table: architecture, task, status, nodes, worst difference, seconds; reasons of what is declined below it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
sys.path.insert(0, str(Path(__file__).parent))

from tiny_transformers import MODELS, make

import bessemer as bm
from bessemer.ir.errors import BessemerError


def converted(place: Path, task: str, target: str, out: Path) -> tuple[str, str, str, str]:
    """Status, nodes, worst difference, reason."""
    try:
        row = bm.convert(place, to=[target], out=out, task=task or None).targets[0]
    except BessemerError as error:
        return type(error).__name__, "", "", str(error)
    nodes = str(sum(row.operators.values()))
    worst = max((line.max_abs for line in row.outputs if line.max_abs is not None), default=0.0)
    reasons = [blocker.reason for blocker in row.blockers] or ([] if row.verified else [row.summary])
    status = "verified" if row.verified else row.status
    free = [note for note in row.notes if "fixed" in note or "takes" in note]
    return status, nodes, f"{worst:.1e}", "; ".join([*dict.fromkeys(reasons), *free])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", default="ort")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", default="")
    asked = parser.parse_args()
    folder = Path(asked.keep) if asked.keep else Path(tempfile.mkdtemp(prefix="tiny-"))
    names = asked.only.split(",") if asked.only else list(MODELS)
    counts: dict[str, int] = {}
    print(f"| architecture | task | {asked.to} | nodes | worst difference | seconds | |\n|---|---|---|---|---|---|---|")
    for name in names:
        place = folder / name if (folder / name / "config.json").exists() else make(name, folder)
        for task in MODELS[name].tasks:
            start = time.perf_counter()
            status, nodes, worst, why = converted(place, task, asked.to, folder / "out" / f"{name}-{task or 'inferred'}")
            counts[status] = counts.get(status, 0) + 1
            seconds = time.perf_counter() - start
            print(f"| {name} | {task or '(inferred)'} | {status} | {nodes} | {worst} | {seconds:.1f} | {why} |", flush=True)
    print(", ".join(f"{count} {status}" for status, count in counts.items()))


if __name__ == "__main__":
    main()
