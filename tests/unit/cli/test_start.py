"""Answers quickly, and imports nothing heavy to list or explain."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bessemer.cli.main import COMMANDS

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "jinja2", "ai_edge_litert")


def modules_after(*arguments: str) -> set[str]:
    """Modules that the program has imported when it ends."""
    code = (
        "import sys, atexit; sys.argv = ['bessemer', *sys.argv[1:]]\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        "from bessemer.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    assert not modules_after("--help") & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_cheaply(command: str) -> None:
    assert not modules_after(command, "--help") & set(HEAVY)


@pytest.mark.parametrize("command", ["formats", "targets", "doctor"])
def test_lists_import_no_model_library(command: str) -> None:
    assert not modules_after(command) & {"onnx", "onnx_ir", "onnxruntime", "ai_edge_litert"}
