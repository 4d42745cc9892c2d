"""Hashes of every input, options and versions: what would reproduce the artifacts byte for byte."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.verify import evidence as ev
from bessemer.workspace import fingerprint

if TYPE_CHECKING:
    from bessemer.request import ConvertOptions

TOOLS = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "ai-edge-litert",
    "ml-dtypes",
    "flatbuffers",
    "protobuf",
    "torch",
    "transformers",
)


def manifest(path: Path, options: ConvertOptions, held: ev.FileRecord | None = None) -> ev.Manifest:
    """The manifest of a conversion of `path`. held: its record, where somebody has worked it out already."""
    from bessemer.verify.feeds import names_function, source_file

    recipe = options.recipe.path if options.recipe is not None else None
    asked = (options.data, options.labels, options.calibration.path, recipe)
    files = {item: source_file(item) if names_function(item) else item for item in asked if item is not None}
    given = [item for item in files.values() if item is not None]
    source = file_record(path, str(path)) if held is None else held
    return ev.Manifest(
        bessemer=version("bessemer"),
        command=command_line(),
        inputs=[source, *(file_record(item, str(item)) for item in given)],
        options={key: str(value) for key, value in vars(options).items() if value not in (None, {}, "", ())},
        versions=versions(),
    )


def file_record(path: Path, shown: str, known: str | None = None) -> ev.FileRecord:
    """Size and hash of a file; of a folder, of the names and hashes of all files in it. known: the hash, if it is."""
    size, digest = fingerprint(path) if known is None else (path.stat().st_size, known)
    return ev.FileRecord(path=shown, bytes=size, sha256=digest)


def versions() -> dict[str, str]:
    """Versions of everything that can change the artifacts' bytes."""
    found = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> list[str]:
    """The command as the manifest records it."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
