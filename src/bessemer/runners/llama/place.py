"""Where llama.cpp is installed. Nothing is loaded here: that happens in the child process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from bessemer.ir.errors import BessemerError, UsageError

VARIABLE = "BESSEMER_LLAMA_CPP"
"""Environment variable: the folder of a built llama.cpp, or its libllama itself."""
HOW_TO_GET = (
    "Run scripts/llama_runtime.py of Bessemer's source (it installs a prebuilt llama.cpp into this environment), or "
    f"pip install llama-cpp-python, or set {VARIABLE} to the folder that holds a built libllama"
)
OWN_FOLDER = "llama.cpp"
"""Below sys.prefix/lib: where scripts/llama_runtime.py puts the library."""

_NAME = re.compile(r"libllama(\.v?[\d.]+)?\.so(\.[\d.]+)?|libllama(\.[\d.]+)?\.dylib|llama\.dll")
_VERSIONED = re.compile(r"libllama\.v?(\d[\d.]*\d)\.(?:so|dylib)$|libllama\.so\.(\d+\.[\d.]*\d)$")


class LlamaMissing(BessemerError):
    """No llama.cpp is installed."""

    exit_code = 6

    def __init__(self) -> None:
        super().__init__(
            "llama.cpp is not installed here", why="No libllama was found", fix=HOW_TO_GET.rstrip(".")
        )


def find() -> Path:
    """The libllama to load: the one that $BESSEMER_LLAMA_CPP names, the environment's own, llama-cpp-python's, the
    system's, in this order. Raises LlamaMissing; UsageError where the variable names nothing."""
    return _find(os.environ.get(VARIABLE, ""))


def available() -> bool:
    """Whether `find` finds one. Raises UsageError where $BESSEMER_LLAMA_CPP names nothing."""
    try:
        find()
    except LlamaMissing:
        return False
    return True


def version(library: Path) -> str:
    """llama.cpp's version as the file's name or that of a sibling says it ('0.5.0'); '' where none does."""
    for path in (library.resolve(), *sorted(library.parent.glob("libllama*"))):
        if match := _VERSIONED.search(path.name):
            return match[1] or match[2]
    return ""


@lru_cache(maxsize=4)
def _find(wanted: str) -> Path:
    if wanted:
        return _wanted(Path(wanted).expanduser())
    for folder in _folders():
        if (found := _library(folder)) is not None:
            return found
    if (system := _system()) is not None:
        return system
    raise LlamaMissing


def _wanted(path: Path) -> Path:
    found = path if path.is_file() else _library(path)
    if found is None:
        raise UsageError(
            f"${VARIABLE} names {path}, where no libllama is",
            fix="Set it to the folder that holds libllama (llama.cpp's build/bin), or to the file itself",
        )
    return found


def _folders() -> Iterator[Path]:
    yield Path(sys.prefix) / "lib" / OWN_FOLDER
    spec = find_spec("llama_cpp")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(package) / "lib"
    yield Path(sys.prefix) / "lib"


def _library(folder: Path) -> Path | None:
    """libllama in a folder, or in its 'lib' or 'bin'; the shortest of its names."""
    for inner in (folder, folder / "lib", folder / "bin", folder / "build" / "bin"):
        if inner.is_dir():
            found = [path for path in inner.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
            if found:
                return min(found, key=lambda path: (len(path.name), path.name))
    return None


def _system() -> Path | None:
    """The library among those that the dynamic loader knows."""
    for folder in _loader_folders():
        if (found := _library(folder)) is not None:
            return found
    return None


def _loader_folders() -> Iterator[Path]:
    named = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    yield from (Path(folder) for folder in named if folder)
    machine = os.uname().machine if hasattr(os, "uname") else ""
    usual = ("/usr/local/lib", f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/opt/homebrew/lib")
    yield from (Path(folder) for folder in usual)
