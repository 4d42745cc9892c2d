"""StridedSlice of TensorFlow and STRIDED_SLICE of TFLite: which axes their masks speak of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bessemer.sources.drawing import Unsupported


class MaskedAxes:
    """What begins, ends and strides of `count` places ask of an operand of `rank` axes.

    masks: begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask, a bit per place.
    entries: (place in begin/end/strides, axis of the operand); removed: axes of the operand that go away;
    added: places of new axes in the result. Raises Unsupported where the masks name more axes than there are.
    """

    def __init__(self, masks: Mapping[str, Any], count: int, rank: int) -> None:
        self.masks = masks
        self.entries: list[tuple[int, int]] = []
        self.removed: list[int] = []
        self.added: list[int] = []
        skipped = [place for place in range(count) if self.has("ellipsis", place)]
        fresh = [place for place in range(count) if self.has("new_axis", place) and place not in skipped]
        covered = rank - (count - len(fresh) - len(skipped))
        if len(skipped) > 1 or covered < 0:
            raise Unsupported("strided-slice-mask", "its masks name more axes than the operand has")
        self._walk(count, covered, fresh)

    def _walk(self, count: int, covered: int, fresh: list[int]) -> None:
        axis = place = 0
        for i in range(count):
            if self.has("ellipsis", i):
                axis, place = axis + covered, place + covered
            elif i in fresh:
                self.added.append(place)
                place += 1
            else:
                self.entries.append((i, axis))
                gone = self.has("shrink_axis", i)
                self.removed += [axis] if gone else []
                axis, place = axis + 1, place + (not gone)

    def has(self, mask: str, place: int) -> bool:
        """Whether the bit of `place` is set."""
        return bool(int(self.masks.get(f"{mask}_mask") or 0) >> place & 1)
