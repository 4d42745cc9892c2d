"""The child of `conformance.run`: `python -m bessemer.conformance.worker TARGET` answers case names with outcomes."""

from __future__ import annotations

import os
import sys

from bessemer.conformance.cases import quiet, run_case
from bessemer.runners.isolated import receive, send


def main() -> None:
    """Answer until the input ends."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    quiet()
    while True:
        try:
            name = receive(sys.stdin.buffer)
        except EOFError:
            return
        send(sink, run_case(name, sys.argv[1]))


if __name__ == "__main__":
    main()
