"""ExportedPrograms (.pt2): checked, then loaded by torch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.sources.torch.export import cause, load_torch
from bessemer.sources.torch.guard import check_program
from bessemer.sources.torch.quiet import quiet


def load_program(path: Path) -> Any:
    """The ExportedProgram of a .pt2 of the current or the older layout.

    Raises UnreadableInput where the file is broken, hostile, or written in a schema that this torch cannot read.
    """
    torch = load_torch()
    check_program(path)
    try:
        with quiet():
            return torch.export.load(str(path))
    except Exception as error:  # noqa: BLE001  # torch's deserialiser raises whatever it stumbles over
        raise UnreadableInput(
            f"{path} is a .pt2 that PyTorch {torch.__version__} cannot load",
            why=cause(error),
            fix="Export it again with torch.export.save in the current version of PyTorch",
        ) from None
