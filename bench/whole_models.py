"""Every model file of a folder through the targets, classified: nothing may crash, hang or be wrong.

python bench/whole_models.py FOLDER [--to onnx --to ort --to tflite] [--jobs N] [--json FILE]

Each file is converted in a worker process with limits of time and memory, so that one that kills its worker costs the
others nothing. Exit code: 0 when every outcome is verified, declined, unreadable or unrunnable (the original's own
runtime refuses it); 4 otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from bessemer.conformance.cases import Outcome
from bessemer.conformance.models import GOOD
from bessemer.conformance.run import run_models

SUFFIXES = (".onnx", ".tflite", ".lite", ".ort", ".pb")
TARGETS = ("onnx", "ort", "tflite")


def table(found: dict[Path, list[Outcome]], targets: list[str]) -> list[str]:
    """Counts per target."""
    kinds = sorted({outcome.verdict for outcomes in found.values() for outcome in outcomes})
    lines = ["| target | " + " | ".join(kinds) + " |", "| --- |" + " --- |" * len(kinds)]
    for place, target in enumerate(targets):
        counts = Counter(outcomes[place].verdict for outcomes in found.values())
        lines.append(f"| {target} | " + " | ".join(str(counts[kind]) for kind in kinds) + " |")
    return lines


def reasons(found: dict[Path, list[Outcome]], targets: list[str], root: Path) -> list[str]:
    """One line per file and target that is not verified."""
    return [
        f"- {path.relative_to(root)}, {target}: {outcome.verdict}: {outcome.reason}"
        for path, outcomes in found.items()
        for target, outcome in zip(targets, outcomes, strict=True)
        if outcome.verdict != "verified"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", action="append")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    targets = arguments.to or list(TARGETS)
    paths = [path for path in arguments.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    found = run_models(paths, targets, jobs=arguments.jobs)
    print("\n".join([*table(found, targets), "", *reasons(found, targets, arguments.folder)]))
    if arguments.json:
        told = {
            str(path): {
                target: {"verdict": outcome.verdict, "reason": outcome.reason}
                for target, outcome in zip(targets, outcomes, strict=True)
            }
            for path, outcomes in found.items()
        }
        arguments.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0 if all(outcome.verdict in GOOD for outcomes in found.values() for outcome in outcomes) else 4


if __name__ == "__main__":
    sys.exit(main())
