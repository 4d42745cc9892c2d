"""Run a command as a whole process: wall seconds and the peak memory of its tree of processes."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK = 0.01
"""Seconds between two looks at the memory of the tree."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """seconds: wall; peak: bytes of all processes of the tree together at the worst moment (resident sets added up,
    so that pages they share count for each); code: exit status, -9 when stopped; tail: last lines on stderr;
    cpu: processor seconds of all processes of the tree that were waited for.
    """

    seconds: float
    peak: int
    code: int
    tail: str = ""
    out: str = ""
    cpu: float = 0.0

    @property
    def stopped(self) -> bool:
        """Whether it was still working at the limit."""
        return self.code == -9


def measure(
    command: Sequence[str],
    *,
    limit: float = 600.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Measured:
    """Run once; after `limit` seconds the whole tree is ended.

    Bytecode caches are allowed for everybody: pip compiles what it installs, a checkout is compiled at its first run.
    """
    whole = {**os.environ, **(env or {})}
    whole.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start, before = time.perf_counter(), _spent()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=whole, cwd=cwd, start_new_session=True)
        peak = 0
        while (code := process.poll()) is None:
            peak = max(peak, sum(map(_resident, _tree(process.pid))))
            if time.perf_counter() - start > limit:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Measured(time.perf_counter() - start, peak, -9, f"stopped at {limit:.0f} s", cpu=_spent() - before)
            with suppress(subprocess.TimeoutExpired):
                process.wait(TICK)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        return Measured(seconds, peak, code, err.read()[-2000:], out.read(), _spent() - before)


def _spent() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> Iterator[int]:
    """The process and everything it started."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return
    for child in children:
        yield from _tree(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):  # it ended meanwhile
        return 0


def median(runs: Sequence[Measured]) -> float:
    """Median seconds."""
    return statistics.median(run.seconds for run in runs)


def peak(runs: Sequence[Measured]) -> int:
    """Highest peak, bytes."""
    return max(run.peak for run in runs)


def ratio(theirs: Sequence[Measured], ours: Sequence[Measured]) -> float:
    """Median over pairs of how many times longer they took; a run that was stopped counts as long as it was let."""
    return statistics.median(t.seconds / o.seconds for t, o in zip(theirs, ours, strict=True))


def load() -> str:
    """How busy the machine is, and what it is: figures of different machines do not compare."""
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, 1-minute load {os.getloadavg()[0]:.1f}"
