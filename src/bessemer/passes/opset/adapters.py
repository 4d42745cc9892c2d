"""The tables of adapters, filled."""

from __future__ import annotations

from bessemer.passes.opset import downgrades, upgrades  # noqa: F401  # they register themselves
from bessemer.passes.opset.registry import DOWNGRADES, UPGRADES

__all__ = ["DOWNGRADES", "UPGRADES"]
