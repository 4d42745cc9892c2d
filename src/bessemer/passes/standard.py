"""The road every model takes before a target sees it: canonical opset, canonical form, rewrites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.passes.base import Pass

Dims = tuple[int | str | tuple[int, int], ...]


def standard_passes(shapes: Mapping[str, Dims], level: int = 2) -> list[Pass]:
    """level 0: canonical form only; 1: and folding; 2: and fusions."""
    from bessemer.passes.canonicalize import Canonicalize

    return [Canonicalize()]
