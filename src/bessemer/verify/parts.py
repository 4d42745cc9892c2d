"""Input sets of a part of a model: what the original computed at the part's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from bessemer.ir.cut import Taps
from bessemer.ir.types import Array
from bessemer.verify.feeds import Spool
from bessemer.verify.inputs import InputSet

HELD = 1 << 26
"""Bytes of tapped values kept in memory; what is beyond goes to a temporary file."""


class Parts:
    """Makes the input sets of one part."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._room = HELD
        self._spool = Spool()

    def of(self, item: InputSet, answer: Mapping[str, Array]) -> InputSet:
        """The part's input set, from the borders that the whole original showed on `item`.

        Labels speak of the whole's answer and are left out.
        """
        whole = item if item.whole is None else item.whole
        names = [tap.name for tap in self._taps.inputs]
        if all(name in whole.arrays for name in names):
            return InputSet(item.title, partial(_chosen, whole, tuple(names)), whole=whole)
        fed = {name: answer[name] for name in names}
        if not all(isinstance(array, np.ndarray) and array.dtype.kind not in "OUS" for array in fed.values()):
            return InputSet(item.title, fed, whole=whole)  # text and sequences are small
        size = sum(array.nbytes for array in fed.values())
        if size <= self._room:
            self._room -= size
            return InputSet(item.title, fed, whole=whole)
        self._spool.add(fed, whole=True)
        return InputSet(item.title, partial(self._spool.run, self._spool.count - 1), whole=whole)

    def answer(self, answer: Mapping[str, Array]) -> dict[str, Array]:
        """The part's outputs among the borders."""
        return {tap.name: answer[tap.name] for tap in self._taps.outputs}


def _chosen(whole: InputSet, names: tuple[str, ...]) -> dict[str, Array]:
    arrays = whole.arrays
    return {name: arrays[name] for name in names}
