"""What a proof is called where runtimes are missing, and what a killed conversion leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bessemer.pipeline import convert
from bessemer.request import ConvertOptions, TargetRequest
from bessemer.workspace import LOCK, Workspace

Asset = Callable[[str], Path]


def test_without_llama_cpp_a_row_is_emulated_and_says_how_to_get_it(
    real_asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bessemer.runners.llama.available", lambda: False)
    source = real_asset("llm/stories260K/stories260K.bin")
    request = TargetRequest("gguf", {"precision": "Q8_0"})
    evidence = convert(source, [request], tmp_path, ConvertOptions(original="reference"))
    (row,) = evidence.targets
    assert (row.status, row.verified, evidence.exit_code) == ("emulated", False, 3)
    assert "llama_runtime.py" in row.summary
    assert row.language is not None
    assert row.language.within
    assert "decoded weights" in row.runtime
    assert list(tmp_path.glob("*.gguf"))


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from bessemer.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)"
    )
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", program, out], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    with Workspace(out) as beside:
        assert len(list(tmp_path.glob(f".out-*/{LOCK}"))) == 2, "a living process keeps its own"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        time.sleep(0.05)
        with Workspace(out) as third:
            assert set(tmp_path.iterdir()) == {beside.path, third.path}
    assert list(tmp_path.iterdir()) == []
