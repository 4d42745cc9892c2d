"""A runner in a process of its own: a runtime that crashes or hangs on a model cannot take the caller along.

The child is `python -m bessemer.runners.worker`; both ends speak length-prefixed pickles of plain dicts and arrays
over a private pipe pair (the parent starts the child, nothing else can write there).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from bessemer.ir.errors import BessemerError
from bessemer.ir.signature import Signature
from bessemer.ir.types import Array

HEADER = 8
RUN_LIMIT = 600.0
"""Seconds that one run may take."""
SHORT_SPIN = {"OPENBLAS_THREAD_TIMEOUT": "12"}
"""numpy's BLAS threads wait 2**12 cycles for work and then sleep; by default each burns a tenth of a second."""


class RuntimeDied(BessemerError):
    """The runtime crashed, hung or refused the model."""

    exit_code = 4


def send(stream: Any, message: Any) -> None:
    """Write one message."""
    data = pickle.dumps(message, protocol=5)
    stream.write(len(data).to_bytes(HEADER, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: Any) -> Any:
    """Read one message; EOFError when the other side is gone."""
    header = stream.read(HEADER)
    if len(header) < HEADER:
        raise EOFError
    size = int.from_bytes(header, "little")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


class IsolatedRunner:
    """A Runner in a child process. `call` is 'module:function' with `arguments`, which returns the real Runner.

    The child starts at once and works while the caller does other things; errors surface at first use. Without a
    `call` it only imports the modules `warm` and waits for `load`.
    """

    def __init__(
        self, call: str = "", *arguments: Any, warm: Sequence[str] = (), limit: float = RUN_LIMIT
    ) -> None:
        self._limit = limit
        self._what = call
        command = [sys.executable, "-m", "bessemer.runners.worker"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**SHORT_SPIN, **os.environ},
        )
        self._ready: tuple[str, Signature] | None = None
        send(self._process.stdin, tuple(warm))
        if call:
            self.load(call, *arguments)

    def load(self, call: str, *arguments: Any) -> IsolatedRunner:
        """Build the runner in the waiting child; returns self."""
        self._what = next((item for item in reversed(arguments) if isinstance(item, str)), call)
        try:
            send(self._process.stdin, (call, arguments))
        except BrokenPipeError:
            raise self._death() from None
        return self

    def __enter__(self) -> IsolatedRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                _close_quietly(stream)

    @property
    def runtime(self) -> str:
        """Name and version of the runtime in the child that executed the last run."""
        self._start()
        return str(self._ask("runtime", {}, ()))

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the runtime sees them."""
        return self._start()[1]

    @property
    def peak_bytes(self) -> int:
        """Peak resident memory of the child so far."""
        self._start()
        return int(self._ask("peak", {}, ()))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        self._start()
        result: dict[str, Array] = self._ask("run", dict(inputs), ())
        return result

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values by name."""
        self._start()
        result: dict[str, Array] = self._ask("tap", dict(inputs), tuple(names))
        return result

    def ask(self, method: str, **arguments: Any) -> Any:
        """What a method of the runner in the child gives."""
        self._start()
        return self._ask("method", arguments, (method,))

    def _start(self) -> tuple[str, Signature]:
        if self._ready is None:
            self._ready = self._answer()
        return self._ready

    def _ask(self, verb: str, inputs: dict[str, Any], names: tuple[str, ...]) -> Any:
        try:
            send(self._process.stdin, (verb, inputs, names))
        except BrokenPipeError:
            raise self._death() from None
        return self._answer()

    def _answer(self) -> Any:
        self._wait()
        try:
            kind, payload = receive(self._process.stdout)
        except EOFError:
            raise self._death() from None
        if kind == "error":
            raise payload
        if kind == "refused":
            raise RuntimeDied(f"The runtime refused {os.path.basename(self._what)}", why=payload)
        return payload

    def _wait(self) -> None:
        deadline = time.monotonic() + self._limit
        stream: Any = self._process.stdout
        ready: list[Any] = []
        while not ready and time.monotonic() < deadline:
            ready, _, _ = select.select([stream], [], [], 1.0)
        if not ready:
            self.close()
            raise RuntimeDied(
                f"The runtime did not answer within {self._limit:.0f} s on {os.path.basename(self._what)}",
                fix="Give smaller inputs with --data or --shape",
            )

    def _death(self) -> RuntimeDied:
        code = self._process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RuntimeDied(f"The runtime crashed ({name}) on {os.path.basename(self._what)}")


def _close_quietly(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:  # unsent bytes for a child that is gone
        return
