"""Where a target's runtime departs on the original file as on the artifact, the fault is the runtime's."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from bessemer.ir.errors import BessemerError
from bessemer.runners.base import Runner
from bessemer.verify.closeness import Closeness
from bessemer.verify.compare import Tally
from bessemer.verify.judge import Reference


def departure(own: Runner, reference: Reference, outputs: Collection[str], bound: Closeness) -> str:
    """What `own`, the target's runtime on the original file, does other than the reference; empty when nothing.

    The reference was made by another runtime where the first one refused the file; `outputs` are looked at. A file
    that `own` cannot even load says nothing about the artifact.
    """
    try:
        own.signature  # noqa: B018  # loads the file
    except BessemerError:
        return ""
    for item, expected in zip(reference.sets, reference.answers, strict=True):
        try:
            answer = own.run(item.original)
        except BessemerError as refusal:
            return f"refuses the original file too: {refusal.why or refusal}"
        for name in outputs:
            tally = Tally(bound)
            tally.add(expected[name], answer[name])
            if not tally.within:
                return departs(name, tally)
    return ""


def departs(name: str, tally: Tally) -> str:
    """One sentence on an output that the original file itself does not get right."""
    gap = tally.worst.max_abs if tally.worst is not None else np.inf
    return f"departs on the original file too: '{name}' by up to {gap:.3g}"
