"""Type names used across the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | str | None, ...]
"""One entry per axis: a size, a symbol's name, or None where nothing is known."""

Perm = tuple[int, ...]

IntArray = npt.NDArray[np.int64]
