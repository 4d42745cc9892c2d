"""One whole model file through targets, classified: for collections in which nothing may crash, hang or lie."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.conformance.cases import Outcome
from bessemer.ir.errors import BessemerError, MissingExtra, UnreadableInput

if TYPE_CHECKING:
    from bessemer.verify.evidence import TargetEvidence

GOOD = ("verified", "declined", "unreadable", "unrunnable")
"""Verdicts that are no fault of ours; the others are 'wrong', 'crash' and 'timeout'.

unreadable: a broken file or a format that cannot be read; unrunnable: the original's own runtime refuses it, or
refuses all generated inputs, so that there is nothing to compare with.
"""


def run_model(path: str, targets: Sequence[str]) -> list[Outcome]:
    """Convert `path` for every target; one outcome per target, all alike where the file itself is at fault."""
    from bessemer.pipeline import convert
    from bessemer.request import ConvertOptions, TargetRequest

    with tempfile.TemporaryDirectory(prefix="bessemer-") as folder:
        try:
            requests = [TargetRequest(target) for target in targets]
            evidence = convert(Path(path), requests, Path(folder) / "out", ConvertOptions())
        except MissingExtra:
            raise
        except UnreadableInput as error:
            return [Outcome(path, "unreadable", str(error)) for _ in targets]
        except BessemerError as error:
            return [Outcome(path, "unrunnable", str(error)) for _ in targets]
        except Exception as error:  # noqa: BLE001  # a crash is what this program looks for
            return [Outcome(path, "crash", _place(error)) for _ in targets]
    return [_of_row(path, row) for row in evidence.targets]


def _of_row(path: str, row: TargetEvidence) -> Outcome:
    if row.verified:
        return Outcome(path, "verified")
    if row.status == "declined":
        rules = tuple(sorted({blocker.rule for blocker in row.blockers}))
        reasons = sorted({f"{blocker.op}: {blocker.reason}" for blocker in row.blockers})
        return Outcome(path, "declined", "; ".join(reasons), rules)
    return Outcome(path, "wrong", row.summary)


def _place(error: Exception) -> str:
    """The exception and the innermost line of ours that it passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "bessemer" in frame.filename]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error)[:300]}{place}"
