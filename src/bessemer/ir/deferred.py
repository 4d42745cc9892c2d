"""`onnx_ir` without the third of a second that it spends on importing sympy.

onnx_ir needs sympy only for arithmetic between symbolic dims, which most conversions never do. So while `onnx_ir` is
being imported, and only then, a stand-in answers to that name; it loads the real module when it is first asked for
something. Whoever imports sympy before or after gets the real one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

DEFERRED = "sympy"
USER = "onnx_ir"
TABULATED = ("Max", "Min", "floor", "sqrt", "Mod")
"""Functions that onnx_ir looks up while it is imported, for its table of what a dim's text may call."""


class _StandIn(ModuleType):
    """Loads the real module at the first use of a name."""

    def __getattr__(self, name: str) -> Any:
        if name in TABULATED and sys.modules.get(DEFERRED) is self:
            return lambda *arguments: getattr(_real(), name)(*arguments)
        return getattr(_real(), name)


def _real() -> ModuleType:
    if isinstance(sys.modules.get(DEFERRED), _StandIn):
        del sys.modules[DEFERRED]
    return import_module(DEFERRED)


class _Finder:
    """Finds `onnx_ir` as the others do, and has the stand-in present while its code runs."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Once: the finder removes itself."""
        if name != USER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is None or spec.loader is None or DEFERRED in sys.modules:
            return spec
        run = spec.loader.exec_module

        def execute(module: ModuleType) -> None:
            stand_in = sys.modules.setdefault(DEFERRED, _StandIn(DEFERRED))
            try:
                run(module)
            finally:
                if sys.modules.get(DEFERRED) is stand_in and isinstance(stand_in, _StandIn):
                    del sys.modules[DEFERRED]

        spec.loader.exec_module = execute  # type: ignore[method-assign]  # this loader serves this module alone
        return spec


def defer_sympy() -> None:
    """Arrange it, unless onnx_ir or sympy is here already."""
    if USER not in sys.modules and DEFERRED not in sys.modules:
        sys.meta_path.insert(0, _Finder())
