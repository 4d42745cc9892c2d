"""The user's own Python, named on the command line as 'module:function' or 'file.py:function'."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bessemer.ir.errors import UsageError


def imported(module: str, said: str) -> ModuleType:
    """The module of that name, or the Python file. said: the option and its value, for the message.

    Raises UsageError for a file that is not there, and whatever the code itself raises (see `blamed`).
    """
    if not module.endswith(".py"):
        return importlib.import_module(module)
    file = Path(module)
    if not file.is_file():
        raise UsageError(f"{said}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{said}: {file} is no Python file")
    made = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, made)
    spec.loader.exec_module(made)
    return made


@contextmanager
def importable(module: str = "") -> Iterator[None]:
    """Inside, what lies in the working directory can be imported, as `python -m` does, and what lies beside a file."""
    places = [str(Path.cwd())]
    if module.endswith(".py"):
        places.insert(0, str(Path(module).resolve().parent))
    sys.path[:0] = places
    try:
        yield
    finally:
        for place in places:
            sys.path.remove(place)


@contextmanager
def blamed(failing: str) -> Iterator[None]:
    """Inside, what the user's code raises is the user's mistake: one paragraph with its line.

    failing: how the message begins ('--data feeds.py:all fails at importing it')."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            failing, where=f"{Path(last.filename).name} line {last.lineno}", why=f"{type(error).__name__}: {error}"
        ) from None
