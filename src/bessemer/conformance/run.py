"""Run many cases in worker processes; a case that kills or hangs its worker is a crash, and the rest go on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from bessemer.conformance.cases import Outcome, node_cases
from bessemer.runners.isolated import receive, send

LIMIT = 120.0
"""Seconds that one case may take."""


def run_all(
    target: str,
    names: Sequence[str] | None = None,
    *,
    jobs: int = 4,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Outcomes of all (or the named) cases, sorted by name; `seen` is told each as it arrives."""
    pending: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in sorted(names if names is not None else node_cases()):
        pending.put(name)
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def work() -> None:
        worker = Worker(target)
        while not pending.empty():
            try:
                name = pending.get_nowait()
            except queue.Empty:
                break
            outcome = worker.run(name)
            with lock:
                outcomes.append(outcome)
                if seen is not None:
                    seen(outcome)
        worker.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes, key=lambda outcome: outcome.name)


class Worker:
    """A child process that runs cases of one target, started again after each death."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._process: Any = None

    def run(self, name: str) -> Outcome:
        """One case; never raises for what the case does."""
        process = self._alive()
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            send(process.stdin, name)
            outcome: Outcome = receive(process.stdout)
        except (EOFError, BrokenPipeError):
            return Outcome(name, "crash", f"the worker died with code {process.wait()}")
        finally:
            timer.cancel()
        return outcome

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _alive(self) -> Any:
        import subprocess
        import sys

        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "bessemer.conformance.worker", self.target]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process
