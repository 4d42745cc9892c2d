"""The child of `conformance.run`: `python -m bessemer.conformance.worker [BYTES]` answers tasks with outcomes.

A task is ("case", name, target) or ("model", path, targets). BYTES bounds the address space of this process and of
every child that it starts.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from bessemer.conformance.cases import quiet, run_case
from bessemer.conformance.models import run_model
from bessemer.runners.isolated import receive, send


def main() -> None:
    """Answer until the input ends."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    quiet()
    if len(sys.argv) > 1:
        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
    while True:
        try:
            kind, *task = receive(sys.stdin.buffer)
        except EOFError:
            return
        send(sink, _answer(kind, task))


def _answer(kind: str, task: list[Any]) -> Any:
    return run_case(*task) if kind == "case" else run_model(*task)


if __name__ == "__main__":
    main()
