"""Weights by role from lazy tensors, as float32: whole ones, or the rows of a table that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bessemer.ir.checkpoint import Lazy
from bessemer.runners.decoder.tables import Floats

AT_ONCE = 1 << 24
"""Weights of a matrix that are decoded at once: 64 MiB as float32."""


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

    def product(self, role: str, x: Floats) -> Floats:
        """x [tokens, columns] times the transposed matrix: [tokens, rows]. It is read and decoded in parts of bounded
        size, the next one while this one is multiplied. Raises KeyError for an unknown role."""
        from bessemer.weights.views import array, floats

        held = self._roles[role]
        step = max(1, AT_ONCE // max(held.columns, 1))
        if held.rows <= step or held.columns != x.shape[1]:  # small, or stored in another shape
            whole: Floats = x @ array(held).reshape(-1, x.shape[1]).T
            return whole
        starts = range(0, held.rows, step)
        made = np.empty((len(x), held.rows), np.float32)
        with ThreadPoolExecutor(1, "bessemer-weights") as pool:
            coming = pool.submit(floats, held, 0, min(step, held.rows))
            for start in starts:
                part, stop = coming.result(), start + step
                if stop < held.rows:
                    coming = pool.submit(floats, held, stop, min(stop + step, held.rows))
                np.matmul(x, part.T, out=made[:, start:stop])
        return made

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
