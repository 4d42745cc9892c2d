"""Does an artifact say what its original says? Inputs, named closeness, first value that departs, evidence.

`bessemer.verify` is this package and, in the public API, also the verb: importing the package binds its name in
`bessemer`, so the package itself can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package that is also `bessemer.api.verify`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `bessemer.api.verify`. The name is looked up late: the front door is above this layer."""
        from importlib import import_module

        return import_module("bessemer.api").verify(*arguments, **options)


sys.modules[__name__].__class__ = _Verb
