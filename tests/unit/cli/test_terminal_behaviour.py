"""Progress on a terminal, silence in a pipe; completion of names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bessemer.cli import output


def test_progress_appears_on_a_terminal_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(output, "_is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with output.Stages() as stages:
        stages.stage("verify", "tflite[red]")
        time.sleep(0.4)
    captured = capsys.readouterr()
    assert "tflite[red]: verify" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_quick_or_piped_work_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr(output, "_is_terminal", lambda: terminal)
    with output.Stages() as stages:
        stages.stage("open")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("in", "inspect"), ("conv", "convert"), ("convert --no-v", "--no-verify"), ("convert --zz", "")],
)
def test_completion(typed: str, offered: str) -> None:
    """The protocol that the installed shell scripts speak."""
    environment = os.environ | {
        "_BESSEMER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"bessemer {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    program = Path(sys.executable).with_name("bessemer")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ([offered] if offered else [])


def test_completion_script_can_be_shown() -> None:
    program = Path(sys.executable).with_name("bessemer")
    for shell in ("bash", "zsh", "fish"):
        environment = os.environ | {"_BESSEMER_COMPLETE": f"source_{shell}"}
        done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
        assert "_BESSEMER_COMPLETE" in done.stdout
