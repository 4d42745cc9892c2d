"""What commands print: reports on stdout, progress on stderr, files in one move."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from bessemer.ir.errors import BessemerError, Declined, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType
    from rich.status import Status

    from bessemer.verify.evidence import Evidence

QUIET_SECONDS = 1.0
"""Work that is done sooner shows no progress."""


def show(*items: RenderableType) -> None:
    """Print on stdout; colours and width follow the terminal, a pipe gets plain text."""
    from rich.console import Console

    console = Console(highlight=False)
    for item in items:
        console.print(item, soft_wrap=isinstance(item, str))  # paths and commands are copied whole


def show_json(payload: Any) -> None:
    """Print plain data as JSON; floats that JSON lacks become null."""
    typer.echo(json.dumps(_finite(payload), indent=2, ensure_ascii=False, allow_nan=False))


def show_record(record: BaseModel) -> None:
    """Print a record of the evidence as JSON."""
    from bessemer.report.json import render

    typer.echo(render(record), nl=False)


def error_json(error: BessemerError) -> str:
    """An error as JSON: `{"error": {...}}`."""
    facts: dict[str, Any] = {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "what": error.what,
        "where": error.where,
        "why": error.why,
        "fix": error.fix,
    }
    if isinstance(error, Declined):
        facts["blockers"] = [blocker.as_dict() for blocker in error.blockers]
    return json.dumps({"error": facts}, indent=2, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def report_kind(path: Path) -> str:
    """'html' or 'json' by suffix; raises UsageError for others, before any work is done."""
    kind = path.suffix.lower().lstrip(".")
    if kind == "htm":
        return "html"
    if kind not in ("html", "json"):
        raise UsageError(f"--report {path} has no known suffix", fix="End the name in .html or .json")
    if path.is_dir():
        raise UsageError(f"--report {path} is a directory", fix="Name a file that ends in .html or .json")
    return kind


def write_reports(evidence: Evidence, paths: Sequence[Path]) -> None:
    """Write each report beside its place and move it there; UsageError where that is impossible."""
    from bessemer.report import html
    from bessemer.report import json as as_json

    for path in paths:
        text = html.render(evidence) if report_kind(path) == "html" else as_json.render(evidence)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            with suppress(OSError):  # the folder itself may be what is wrong
                draft.unlink(missing_ok=True)
            raise UsageError(f"The report cannot be written to {path}", why=str(error.strerror)) from None


class Stages:
    """Progress as one line on stderr: only on a terminal, only when the work takes a while."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._line, self._share = "Working", ""
        self._status: Status | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(QUIET_SECONDS, self._appear)
        self._timer.daemon = True

    def __enter__(self) -> Stages:
        if _is_terminal():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._status is not None:
                self._status.stop()

    def stage(self, name: str, target: str = "") -> None:
        """A stage begins."""
        with self._lock:
            self._line, self._share = f"{target}: {name}" if target else name, ""
            if self._status is not None:
                self._status.update(self._text())

    def at(self, share: float) -> None:
        """How much of the stage is done."""
        with self._lock:
            self._share = f" {share:.0%}"
            if self._status is not None:
                self._status.update(self._text())

    def _text(self) -> str:
        from rich.markup import escape

        return f"{escape(self._line)}{self._share} [dim]({time.monotonic() - self._begin:.0f} s)[/dim]"

    def _appear(self) -> None:
        from rich.console import Console

        with self._lock:
            self._status = Console(stderr=True).status(self._text())
            self._status.start()


def _is_terminal() -> bool:
    import sys

    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
