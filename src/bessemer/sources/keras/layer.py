"""One call of a layer; it lives with the evaluators, which sources may import and not the other way about."""

from __future__ import annotations

from bessemer.runners.keras.layer import Layer

__all__ = ["Layer"]
