"""ExportedPrograms (.pt2): checked, then loaded by torch itself."""

from __future__ import annotations

import importlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.sources.torch.export import cause, load_torch
from bessemer.sources.torch.guard import check_program
from bessemer.sources.torch.quiet import quiet

BORDERS = "bessemer_borders.json"
"""An extra file of ours in a .pt2: how the user called inputs and free axes, which torch forgets."""


@dataclass(frozen=True)
class Loaded:
    """An ExportedProgram. inputs: names that replace its own (None: they do not); axes: its symbols -> names."""

    program: Any
    inputs: list[str] | None = None
    axes: dict[str, str] = field(default_factory=dict)


def load_program(path: Path) -> Loaded:
    """The ExportedProgram of a .pt2 of the current or the older layout.

    Raises UnreadableInput where the file is broken, hostile, or written in a schema that this torch cannot read.
    """
    torch = load_torch()
    check_program(path)
    with suppress(ImportError):  # programs of torch's quantizers use operators that importing this registers
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    extra: dict[str, Any] = {BORDERS: ""}
    try:
        with quiet():
            program = torch.export.load(str(path), extra_files=extra)
    except Exception as error:  # noqa: BLE001  # torch's deserialiser raises whatever it stumbles over
        raise UnreadableInput(
            f"{path} is a .pt2 that PyTorch {torch.__version__} cannot load",
            why=cause(error),
            fix="Export it again with torch.export.save in the current version of PyTorch",
        ) from None
    borders = _borders(extra.get(BORDERS))
    return Loaded(program, borders.get("inputs"), borders.get("axes") or {})


def _borders(text: Any) -> dict[str, Any]:
    try:
        said = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
