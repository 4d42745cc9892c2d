"""Weights by role from lazy tensors, as float32: whole ones, or the rows of a table that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Lazy
from bessemer.runners.decoder.tables import Floats


class Weights(Protocol):
    """role -> float32 in Hugging Face's layout, None where the model has none."""

    def __call__(self, role: str, /) -> Floats | None:
        """The whole tensor."""
        ...


class Reading:
    """`Weights` over `Family.roles(checkpoint)`: nothing is kept. Raises UnreadableInput as the tensors' files do."""

    def __init__(self, roles: Mapping[str, Lazy]) -> None:
        self._roles = roles

    def __contains__(self, role: str) -> bool:
        return role in self._roles

    def __call__(self, role: str) -> Floats | None:
        """The whole tensor, decoded."""
        from bessemer.weights.views import array

        held = self._roles.get(role)
        return None if held is None else array(held)

    def rows(self, role: str, places: npt.NDArray[np.int64]) -> Floats:
        """Rows of a table [places, columns]; each different one is read once. Raises KeyError for an unknown role."""
        from bessemer.weights.views import floats

        held = self._roles[role]
        different, back = np.unique(places, return_inverse=True)
        found = np.empty((len(different), held.columns), np.float32)
        for index, place in enumerate(different):
            found[index] = floats(held, int(place), int(place) + 1)[0]
        return found[back.reshape(-1)]

    def part(self, role: str, place: int) -> Floats:
        """Entry `place` of the first axis: one expert's matrix [results, columns]."""
        from bessemer.weights.views import floats

        held = self._roles[role]
        size = held.rows // held.shape[0]
        return floats(held, place * size, (place + 1) * size)
