"""Outputs are made beside their place and moved there at the end; an interrupted run leaves nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from bessemer.ir.errors import UsageError

READ_SIZE = 1 << 20
LOCK = ".bessemer-lock"
"""File of a workspace that its process holds."""


class Workspace:
    """A hidden directory beside `out` (same file system, so that a move is a rename)."""

    def __init__(self, out: Path) -> None:
        self.out = out
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file", fix="Name a directory")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{out.name or 'out'}-"
            _clear(out.parent, prefix)
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
            self._lock = _locked(self.path / f"{LOCK}-new")
            (self.path / f"{LOCK}-new").rename(self.path / LOCK)  # under this name it is never free while we live
        except OSError as error:
            raise UsageError(f"Cannot write beside {out}", why=str(error)) from None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """A new empty directory inside the workspace."""
        folder = self.path / name
        folder.mkdir()
        return folder

    def publish(self, files: list[Path], base: Path) -> list[Path]:
        """Move `files` (under `base`) into the output directory, replacing older ones; returns their new paths."""
        placed: list[Path] = []
        for file in files:
            place = self.out / file.relative_to(base)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
            placed.append(place)
        return placed


def _locked(path: Path) -> IO[bytes]:
    """An open file that no other process holds; the system lets go of it when this one ends, however it does.

    Raises OSError where another process has it.
    """
    import fcntl

    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _clear(parent: Path, prefix: str) -> None:
    """Remove workspaces of processes that were killed: their locks are free."""
    for left in parent.glob(f"{prefix}*/{LOCK}"):
        try:
            with _locked(left):
                shutil.rmtree(left.parent, ignore_errors=True)
        except OSError:
            continue  # somebody is at work there, or it is not ours


def same_file(path: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return path.stat().st_size == other.stat().st_size and sha256_of(path) == sha256_of(other)


def check_companions(companions: Sequence[Path], out: Path) -> None:
    """Files that go along with artifacts must not take the place of another model's. Raises UsageError."""
    taken = [path.name for path in companions if (out / path.name).is_file() and not same_file(path, out / path.name)]
    if taken:
        raise UsageError(
            f"{out} holds {', '.join(taken[:3])}{' and others' * (len(taken) > 3)} of another model",
            why="tokenizers and settings are placed beside the artifact, and these differ",
            fix="Choose another --out, or remove them",
        )


def bring(companions: Sequence[Path], folder: Path, beside: Sequence[Path]) -> list[Path]:
    """Copy them into the folder of the artifact's files `beside`; returns the copies. Raises UsageError for equal names."""
    taken = {path.name for path in beside}
    for path in companions:
        if path.name in taken:
            raise UsageError(f"The artifact and a file that goes along are both called {path.name}")
    return [Path(shutil.copyfile(path, folder / path.name)) for path in companions]


def artifact_stem(path: Path, precision: str, task: str | None = None) -> str:
    """`mobilenet` for float32, `mobilenet.float16` for the rest, `t5.seq2seq-encoder` for a task that was asked for: several
    precisions and tasks share one folder."""
    stem = path.resolve().name if path.is_dir() else path.stem
    stem = f"{stem}.{task}" if task else stem
    return stem if precision in ("", "float32") else f"{stem}.{precision}"


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(READ_SIZE):
            digest.update(piece)
    return digest.hexdigest()


def fingerprint(path: Path) -> tuple[int, str]:
    """Bytes and hash of a file; of a folder, of all files in it, and the hash of their names and hashes."""
    if not path.is_dir():
        return path.stat().st_size, sha256_of(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    lines = [f"{sha256_of(item)}  {item.relative_to(path).as_posix()}\n" for item in files]
    return sum(item.stat().st_size for item in files), hashlib.sha256("".join(lines).encode()).hexdigest()
