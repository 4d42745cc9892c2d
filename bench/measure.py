"""Run a command as a whole process: wall seconds, CPU seconds and peak memory, children included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """seconds: wall; peak: bytes of the largest process; code: exit status; tail: last lines it printed."""

    seconds: float
    peak: int
    code: int
    tail: str
    out: str = ""


def measure(
    command: Sequence[str], *, limit: float = 600.0, env: Mapping[str, str] | None = None
) -> Measured:
    """Run once; a command past `limit` seconds is killed and has code -9."""
    probe = [sys.executable, "-c", _PROBE, *command]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            probe,
            capture_output=True,
            text=True,
            timeout=limit,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Measured(time.perf_counter() - start, 0, -9, f"stopped after {limit:.0f} s")
    seconds = time.perf_counter() - start
    head, _, rest = done.stderr.rpartition("\nPEAK ")
    peak = int(rest or 0) * 1024
    return Measured(seconds, peak, done.returncode, (head or done.stdout)[-2000:], done.stdout)


_PROBE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("\\nPEAK", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr, end="")
sys.exit(code if code >= 0 else 1)
"""
"""The probe's own start is about 20 ms; it exists because only a parent learns a child's peak."""
