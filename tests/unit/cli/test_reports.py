"""Report files are placed in one move, or not at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bessemer.cli import output
from bessemer.ir.errors import UsageError
from bessemer.report import html


def test_a_report_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "render", lambda _: "<!doctype html>")
    evidence: Any = SimpleNamespace()
    output.write_reports(evidence, [tmp_path / "deep" / "r.html"])
    assert (tmp_path / "deep" / "r.html").read_text() == "<!doctype html>"
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        output.write_reports(evidence, [tmp_path / "file" / "r.html"])
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["deep", "file", "r.html"]
