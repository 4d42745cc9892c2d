"""Functions by name, registered where they are written: one decorator, and a table that imports its families on use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Generic[F]):
    """`@registry("Conv2D", "Convolution2D")` registers a function under these names.

    package: where the families lie; families: modules of it that register something, every module without.
    """

    def __init__(self, package: str, families: Sequence[str] = ()) -> None:
        self._package, self._families = package, tuple(families)
        self._held: dict[str, F] = {}
        self._loaded = False

    def __call__(self, *names: str) -> Callable[[F], F]:
        """Register the decorated function. Raises ValueError for a name that another function has."""

        def register(function: F) -> F:
            for name in names:
                other = self._held.setdefault(name, function)
                if other is not function:
                    raise ValueError(f"{name} is registered twice: {other.__module__}, {function.__module__}")
            return function

        return register

    def table(self) -> dict[str, F]:
        """All functions by name."""
        if not self._loaded:
            self._loaded = True
            for family in self._families or self._modules():
                import_module(f"{self._package}.{family}")
        return self._held

    def _modules(self) -> list[str]:
        return [found.name for found in iter_modules(import_module(self._package).__path__)]
