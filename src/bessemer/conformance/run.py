"""Run many cases or models in worker processes; one that kills or hangs its worker is named, and the rest go on."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from bessemer.conformance.cases import Outcome, node_cases
from bessemer.runners.isolated import receive, send

LIMIT = 120.0
"""Seconds that one case may take."""
MODEL_LIMIT = 60.0
"""Seconds that one model may take, all targets together."""
MODEL_MEMORY = 6 << 30
"""Bytes of address space of each process that works on a model."""

T = TypeVar("T")


def run_all(
    target: str,
    names: Sequence[str] | None = None,
    *,
    jobs: int = 4,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Outcomes of all (or the named) cases, sorted by name; `seen` is told each as it arrives."""

    def one(worker: Worker, name: str) -> Outcome:
        answer, death = worker.ask("case", name, target)
        return Outcome(name, "crash", death) if death else answer

    chosen = sorted(names if names is not None else node_cases())
    outcomes = _share_out(chosen, lambda: Worker(LIMIT), one, jobs, seen)
    return sorted(outcomes, key=lambda outcome: outcome.name)


def run_models(
    paths: Sequence[Path],
    targets: Sequence[str],
    *,
    jobs: int = 2,
    seen: Callable[[list[Outcome]], None] | None = None,
) -> dict[Path, list[Outcome]]:
    """Per file its outcomes in the order of `targets`; 'timeout' for a file that takes too long."""

    def one(worker: Worker, path: Path) -> list[Outcome]:
        answer, death = worker.ask("model", str(path), tuple(targets))
        verdict = "timeout" if death.startswith("it took") else "crash"
        return [Outcome(str(path), verdict, death) for _ in targets] if death else answer

    found = _share_out(sorted(paths), lambda: Worker(MODEL_LIMIT, MODEL_MEMORY), one, jobs, seen)
    by_path = {Path(outcomes[0].name): outcomes for outcomes in found}
    return {path: by_path[path] for path in sorted(paths)}


def _share_out(
    tasks: Sequence[Any],
    start: Callable[[], Worker],
    one: Callable[[Worker, Any], T],
    jobs: int,
    seen: Callable[[T], None] | None,
) -> list[T]:
    pending: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for task in tasks:
        pending.put(task)
    answers: list[T] = []
    lock = threading.Lock()

    def work() -> None:
        worker = start()
        while not pending.empty():
            try:
                task = pending.get_nowait()
            except queue.Empty:
                break
            answer = one(worker, task)
            with lock:
                answers.append(answer)
                if seen is not None:
                    seen(answer)
        worker.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class Worker:
    """A child process that answers tasks, started again after each death; its own children end with it."""

    def __init__(self, limit: float, memory: int = 0) -> None:
        self._limit, self._memory = limit, memory
        self._process: Any = None

    def ask(self, *task: Any) -> tuple[Any, str]:
        """(answer, '') or (None, how the worker died); never raises for what the task does."""
        process = self._alive()
        late = threading.Event()
        timer = threading.Timer(self._limit, self._kill, [late])
        timer.start()
        try:
            send(process.stdin, task)
            return receive(process.stdout), ""
        except (EOFError, BrokenPipeError):
            code = process.wait()
            self._kill()
            return None, (
                f"it took more than {self._limit:.0f} s"
                if late.is_set()
                else f"the worker died with code {code}"
            )
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._kill()
            self._process.wait()

    def _kill(self, late: threading.Event | None = None) -> None:
        if late is not None:
            late.set()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _alive(self) -> Any:
        if self._process is None or self._process.poll() is not None:
            limit = [str(self._memory)] if self._memory else []
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bessemer.conformance.worker", *limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        return self._process
