"""Recognise a file by its content; a wrong kind of file is named for what it is."""

from __future__ import annotations

from pathlib import Path

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.sources import SOURCES
from bessemer.sources.base import HEAD, Clue, SourceEntry


def all_sources() -> tuple[SourceEntry, ...]:
    """Built-in formats, then plugins of the entry point group `bessemer.sources`."""
    from importlib.metadata import entry_points

    return (*SOURCES, *(point.load() for point in entry_points(group="bessemer.sources")))


def identify(path: Path) -> SourceEntry:
    """The format of a file or a directory.

    Raises UsageError when there is no such path, UnreadableInput naming what the file is when it is no model
    that can be read.
    """
    clue = Clue(path, _head(path))
    ours = next((entry for entry in SOURCES if entry.sniff(clue)), None)
    if ours is not None:
        return ours
    entries = all_sources()
    for entry in entries[len(SOURCES) :]:
        if entry.sniff(clue):
            return entry
    kind = _foreign(clue)
    wanted = " or ".join(entry.title for entry in entries)
    named = next((entry for entry in entries if path.suffix.lower() in entry.suffixes), None)
    expected = f"not an {named.title} file" if named else f"which cannot be read as a model ({wanted})"
    raise UnreadableInput(
        f"{path} is {kind}, {expected}", fix="Give a model file; `bessemer formats` lists what can be read"
    )


def warm_modules(path: Path) -> tuple[str, ...]:
    """What running the original will import. Raises as `identify` does."""
    from importlib import import_module

    entry = identify(path)
    module, _, name = entry.stand_in.partition(":")
    file = getattr(import_module(module), name)(path) if module else None
    return entry.warm if file is None else warm_modules(file)


def _head(path: Path) -> bytes:
    try:
        if path.is_dir():
            return b""
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be opened", why=str(error.strerror)) from None


def _directory(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return "a TensorFlow SavedModel directory"
    if (path / "config.json").exists():
        return "a Hugging Face model directory"
    if path.suffix == ".mlpackage":
        return "a CoreML package"
    return "a directory"


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF file"),
    (b"lmgg", "a legacy GGML file"),
    (b"tjgg", "a legacy GGJT file"),
    (b"fmgg", "a legacy GGMF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "an ELF program"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"RIFF", "a RIFF (WAV, WebP) file"),
    (b"%PDF", "a PDF document"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer: the real file was never downloaded (run `git lfs pull`)",
    ),
    (b"<!DOCTYPE html", "an HTML page: a download went wrong"),
    (b"<html", "an HTML page: a download went wrong"),
    (b"\x80\x02", "a Python pickle (perhaps a legacy PyTorch file), which is never executed here"),
    (b"\x80\x03", "a Python pickle, which is never executed here"),
    (b"\x80\x04", "a Python pickle, which is never executed here"),
    (b"\x80\x05", "a Python pickle, which is never executed here"),
)


def _foreign(clue: Clue) -> str:
    head = clue.head
    if clue.path.is_dir():
        return _directory(clue.path)
    if clue.path.suffix == ".pbtxt":
        return "a TensorFlow graph as text (only the binary .pb is read)"
    if clue.path.suffix == ".index" or ".data-" in clue.path.name:
        return "a part of a TensorFlow checkpoint (give the .meta graph beside it)"
    if not head:
        return "an empty file"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"PK\x03\x04"):
        return _zip(clue.members)
    if head[8:16].startswith(b'{"') or head[8:10] == b"{ ":
        return "a safetensors file"
    if head[4:8] == b"ORTM":
        return "an ONNX Runtime .ort file"
    if not head.strip(b"\0"):
        return "a file of zeros"
    return "a text file" if _is_text(head) else "a file of an unknown kind"


def _zip(names: tuple[str, ...]) -> str:
    if not names:
        return "an empty or broken zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch zip"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "a Keras 3 .keras archive"
    if any(name.endswith(".npy") for name in names):
        return "a NumPy .npz archive"
    return "a zip archive"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char.isspace() for char in text)
