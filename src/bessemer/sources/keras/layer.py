"""The record that layers are read from; evaluators use it too, so it stands with them."""

from bessemer.runners.keras.layer import Layer

__all__ = ["Layer"]
