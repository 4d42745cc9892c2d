"""The hash of a file while it is being written: what lies before the first unfinished piece is read again and counted.

The bytes are still in the system's cache, and hashing them afterwards would take as long as a third of the writing.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from queue import SimpleQueue
from types import TracebackType

CHUNK = 1 << 20


class Following:
    """SHA-256 of an open file. `reached` says up to where its bytes are final; on leaving, all of them have to be."""

    def __init__(self, place: int, total: int) -> None:
        self._place, self._total = place, total
        self._ends: SimpleQueue[int | None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(1, "bessemer-hash")
        self._digest: Future[str] = self._pool.submit(self._follow)

    def __enter__(self) -> Following:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ends.put(self._total if kind is None else None)
        self._ends.put(None)
        self._pool.shutdown(wait=True)

    def reached(self, end: int) -> None:
        """All bytes before `end` are as they will be."""
        self._ends.put(end)

    @property
    def digest(self) -> str:
        """Hexadecimal, after the writing. Raises OSError where the file could not be read."""
        return self._digest.result()

    def _follow(self) -> str:
        held, at = sha256(), 0
        while (end := self._ends.get()) is not None:
            while at < end:
                data = os.pread(self._place, min(CHUNK, end - at), at)
                if not data:
                    raise OSError(f"the file that is being written ends at byte {at} of {end}")
                held.update(data)
                at += len(data)
        return held.hexdigest()
