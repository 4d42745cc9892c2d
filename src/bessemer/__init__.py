"""Bessemer converts trained models and runs every artifact beside the original.

    import bessemer as bm

    evidence = bm.convert("resnet.onnx", to=["tflite:float16", "onnx:opset=12"], out="out/")

Names are imported on first use: `import bessemer` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bessemer.api import (
        ConversionManager,
        compile,
        convert,
        cut,
        join,
        load,
        load_checkpoint,
        optimize,
        verify,
    )

    __version__: str

__all__ = [
    "ConversionManager", "__version__", "compile", "convert", "cut", "join", "load", "load_checkpoint", "optimize", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bessemer")
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("bessemer.api"), name)
    raise AttributeError(f"module 'bessemer' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
