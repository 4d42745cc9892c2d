"""Whose fault a stumble is: the standard's own checker says whether a file is a valid model of its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bessemer.ir.errors import BessemerError, UnreadableInput


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Inside, an unexpected exception becomes UnreadableInput where the format's checker refuses the file `path`.

    Passes and lowerings rely on what a valid model promises (ranks, types, attributes) and do not look after it; a
    model that keeps its promises and still makes them stumble is a fault of ours, and the exception passes.
    """
    try:
        yield
    except (BessemerError, MemoryError, RecursionError):
        raise
    except Exception as error:
        reason = refusal(path)
        if not reason:
            raise
        raise UnreadableInput(
            f"{path} is not a valid model", why=reason, fix="Export it again, or repair what is named"
        ) from error


def refusal(path: Path) -> str:
    """Why the format's checker refuses a file, in one line; empty where it does not, or there is no checker."""
    from importlib import import_module

    from bessemer.sources.sniff import identify

    checker = identify(path).checker
    if not checker:
        return ""
    module, name = checker.split(":")
    return str(getattr(import_module(module), name)(path))
