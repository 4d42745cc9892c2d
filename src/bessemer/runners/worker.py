"""The child side of `runners.isolated`: builds one runner, then answers run, tap, peak and methods until its input ends."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from bessemer.ir.errors import BessemerError
from bessemer.runners.base import Runner
from bessemer.runners.isolated import receive, send


def serve(source: Any, sink: Any) -> None:
    """Answer messages from `source` on `sink`."""
    for module in receive(source):
        with suppress(ImportError):  # a missing runtime is said when it is asked for
            import_module(module)
    try:
        call, arguments = receive(source)
    except EOFError:
        return
    runner = _guarded(sink, lambda: _build(call, arguments), announce=True)
    while runner is not None:
        try:
            message = receive(source)
        except EOFError:
            return
        _guarded(sink, partial(_perform, runner, *message))


def _perform(runner: Runner, verb: str, inputs: dict[str, Any], names: tuple[str, ...]) -> Any:
    if verb == "run":
        return runner.run(inputs)
    if verb == "tap":
        return runner.tap(inputs, names)
    if verb == "method":
        return getattr(runner, names[0])(**inputs)
    if verb == "runtime":
        return runner.runtime
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _build(call: str, arguments: tuple[Any, ...]) -> Runner:
    module, name = call.split(":")
    runner: Runner = getattr(import_module(module), name)(*arguments)
    return runner


def _guarded(sink: Any, action: Any, *, announce: bool = False) -> Any:
    """Run `action` and send its result. A runtime may raise anything: here is the border where that becomes data."""
    try:
        result = action()
        payload = (result.runtime, result.signature) if announce else result
    except BessemerError as error:
        send(sink, ("error", error))
        return None
    except Exception as error:  # noqa: BLE001  # foreign runtimes raise their own unrelated types
        send(sink, ("refused", f"{type(error).__name__}: {error}"[:2000]))
        return None
    send(sink, ("ok", payload))
    return result


def main() -> None:
    """Keep the protocol's stdout to ourselves: runtimes print there."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
