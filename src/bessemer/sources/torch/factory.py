"""`module.py:factory` on the command line: the user's own code builds the module, in this process and in the original's."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.ir.user_code import blamed, importable, imported
from bessemer.sources.torch.examples import Examples, from_given

SPELLING = re.compile(r"(?P<file>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)")


@dataclass(frozen=True)
class Built:
    """A module in evaluation mode, and what it is fed where the factory says so."""

    module: Any
    examples: Examples | None


def build(text: str) -> Built:
    """Call the factory 'file.py:function' (or 'package.module:function').

    It returns a module, (module, example_inputs) or (module, example_inputs, dynamic_shapes); `example_inputs` and
    `dynamic_shapes` may also be attributes of the function, of the module, or names in the file. Random numbers are seeded:
    weights that are drawn are the same in every process. Raises UsageError, also for what the user's code raises.
    """
    import torch

    found = SPELLING.fullmatch(text)
    if found is None:
        raise UsageError(f"--factory {text} names no function", fix="Say --factory FILE.py:FUNCTION")
    with blamed(f"--factory {text} fails"), importable(found["file"]), redirect_stdout(sys.stderr), torch.no_grad():
        torch.manual_seed(0)
        code = imported(found["file"], f"--factory {text}")
        function = _looked_up(code, found["name"], text)
        made = function if isinstance(function, torch.nn.Module) else function()
    module, *rest = made if isinstance(made, tuple) else (made,)
    if not isinstance(module, torch.nn.Module) or len(rest) > 2:
        raise UsageError(
            f"--factory {text} gives {type(made).__name__}, which is no module",
            fix="Return a torch.nn.Module, (module, example_inputs) or (module, example_inputs, dynamic_shapes)",
        )
    holders = (function, module, code)
    given = rest[0] if rest else _attribute(holders, "example_inputs")
    dynamic = rest[1] if len(rest) == 2 else _attribute(holders, "dynamic_shapes")
    if callable(given) and not isinstance(given, torch.Tensor):
        with blamed(f"--factory {text} fails"):
            given = given()
    module.eval()
    return Built(module, None if given is None else from_given(given, dynamic))


def _attribute(holders: tuple[Any, ...], name: str) -> Any:
    return next((getattr(held, name) for held in holders if getattr(held, name, None) is not None), None)


def _looked_up(code: ModuleType, name: str, text: str) -> Any:
    held: Any = code
    for part in name.split("."):
        if not hasattr(held, part):
            made_here = [key for key, item in vars(code).items() if getattr(item, "__module__", "") == code.__name__]
            own = [key for key in made_here if callable(getattr(code, key))]
            raise UsageError(f"--factory {text}: there is no '{name}'", fix=f"It has: {', '.join(own) or 'nothing'}")
        held = getattr(held, part)
    if not callable(held):
        raise UsageError(f"--factory {text}: '{name}' is no function", fix="Name a function that returns the module")
    return held


