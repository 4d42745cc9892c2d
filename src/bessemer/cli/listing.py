"""How `formats` and `targets` look, and which runtimes are here (by package metadata, without imports)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

EXTRAS: dict[str, tuple[str, str]] = {
    "ort": ("onnxruntime", "runs ONNX models"),
    "tflite": ("ai-edge-litert", "runs TFLite models"),
    "images": ("pillow", "reads images given to --data"),
    "train": ("torch", "fine-tunes quantized models"),
    "torch": ("torch", "exports and runs PyTorch programs"),
    "hf": ("transformers", "builds and runs Hugging Face models"),
    "gguf": ("numba", "encodes and decodes GGUF's number formats"),
    "tensorflow": ("tensorflow-cpu", "runs Keras and TensorFlow originals"),
}
"""Extra -> the package it installs, and what that is for."""

LLAMA = "llama.cpp"
"""The runtime that no extra installs."""

Row = tuple[str, str, Sequence[str], Sequence[str], str]


def version_of(package: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def llama_version() -> str | None:
    """llama.cpp's version, or where it is if no name says it; None where it is not installed."""
    from bessemer.runners import llama

    if not llama.available():
        return None
    return llama.version(llama.find()) or str(llama.find())


def installed(runtime: str, extra: str) -> str:
    """'ONNX Runtime (1.31.1)', or how to install it."""
    if runtime == LLAMA:
        return f"{runtime} ({llama_version() or 'missing: python scripts/llama_runtime.py'})"
    package = EXTRAS.get(extra, ("", ""))[0]
    if not package:
        return runtime
    found = version_of(package)
    return f"{runtime} ({found})" if found else f"{runtime} (missing: pip install 'bessemer[{extra}]')"


def listing(rows: Sequence[Row]) -> Any:
    """name, summary, then its points."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for index, (name, summary, points, limits, runtime) in enumerate(rows):
        listed = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        for line in (*points, *(f"limit: {limit}" for limit in limits)):
            listed.add_row("·", Text(line))
        ending = "\n" if index + 1 < len(rows) else ""
        table.add_row(Text(name), Group(Text(summary), listed, Text(f"runs in {runtime}{ending}")))
    return table
