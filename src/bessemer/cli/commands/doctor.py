"""`bessemer doctor`."""

from __future__ import annotations

from typing import Any

from bessemer.cli import options as o

CORE = ("numpy", "ml-dtypes", "onnx", "onnx-ir", "flatbuffers", "pydantic", "jinja2", "rich", "typer")

USE = "runs GGUF models"


def command(json: o.Json = False) -> None:
    """Show which runtimes and extras are installed, their versions, and how to get those that are missing."""
    import platform

    from bessemer.cli.listing import EXTRAS, LLAMA, llama_version, version_of
    from bessemer.cli.output import show, show_json

    base = {"bessemer": version_of("bessemer"), "python": platform.python_version()}
    base |= {name: version_of(name) for name in CORE}
    extras = {extra: (package, version_of(package), use) for extra, (package, use) in EXTRAS.items()}
    if json:
        found = {
            extra: dict(zip(("package", "version", "for"), facts, strict=True))
            for extra, facts in extras.items()
        }
        found[LLAMA] = {"package": LLAMA, "version": llama_version(), "for": USE}
        show_json({"platform": platform.platform(), "base": base, "extras": found})
        return
    rows: list[tuple[str, str, str]] = [(name, held or "missing", "") for name, held in base.items()]
    for extra, (package, held, use) in extras.items():
        rows.append((package, held or "missing", use if held else f"{use}: pip install 'bessemer[{extra}]'"))
    rows.append((LLAMA, llama_version() or "missing", USE if llama_version() else f"{USE}: {_how_to_get()}"))
    show(platform.platform(), _table(rows))


def _how_to_get() -> str:
    """What to do where llama.cpp is missing."""
    from bessemer.runners.llama import HOW_TO_GET

    return HOW_TO_GET


def _table(rows: list[tuple[str, str, str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for name, held, said in rows:
        table.add_row(
            Text(name), Text(held, style="bold red" if held == "missing" else ""), Text(said, style="dim")
        )
    return table
