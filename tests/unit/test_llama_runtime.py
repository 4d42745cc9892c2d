"""scripts/llama_runtime.py: a known archive or none, and a plain word where nothing can be had."""

from __future__ import annotations

import importlib.util
import io
import platform
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "llama_runtime.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script with an environment of its own, where nothing loads and nothing is on the path."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("the prebuilt library is for Linux on x86-64")
    spec = importlib.util.spec_from_file_location("llama_runtime", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PLACE", tmp_path / "lib" / "llama.cpp")
    monkeypatch.setattr(module, "_loads", lambda: "")
    monkeypatch.setattr(sys, "argv", ["llama_runtime.py"])
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return module


def packed(path: Path) -> None:
    """An archive like npm's, with more in it than is wanted."""
    with tarfile.open(path, "w:gz") as archive:
        for name in ("LICENSE", "bins/linux-x64/libllama.v0.5.0.so", "bins/linux-x64/addon.node", "../evil.so"):
            data = name.encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def npm(tmp_path: Path, archive: Path) -> None:
    """An npm that packs what lies there."""
    program = tmp_path / "bin" / "npm"
    program.write_text(f'#!/bin/sh\nfor last; do :; done\n/bin/cp {archive} "$last/x.tgz"\n')
    program.chmod(0o755)


def test_without_anything_it_says_what_is_lost(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.main()
    said = capsys.readouterr().out
    assert "npm is missing; a build from source needs cmake and a C++ compiler" in said
    assert "`emulated`" in said
    assert "tests that need it are skipped" in said


def test_an_unknown_archive_is_not_unpacked(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed(tmp_path / "other.tgz")
    npm(tmp_path, tmp_path / "other.tgz")
    script.main()
    assert "is not the known one, and was not unpacked" in capsys.readouterr().out
    assert not script.PLACE.exists()


def test_of_the_known_archive_libraries_and_license_are_taken(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(tmp_path / "known.tgz")
    npm(tmp_path, tmp_path / "known.tgz")
    monkeypatch.setattr(script, "INTEGRITY", script._integrity(tmp_path / "known.tgz"))
    assert script._prebuilt() == ""
    assert {path.name for path in script.PLACE.iterdir()} == {"LICENSE", "libllama.v0.5.0.so"}
    assert [path.name for path in script.PLACE.parent.iterdir()] == ["llama.cpp"]
    assert script._prebuilt() == ""  # a second time replaces the first


def test_what_is_there_already_is_left_alone(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "_loads", lambda: "llama.cpp 0.5.0")
    script.main()
    assert capsys.readouterr().out == "llama.cpp 0.5.0 is here already\n"
