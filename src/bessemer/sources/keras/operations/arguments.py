"""What a function is called with, and the table of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bessemer.sources.drawing import Canvas, Ordered, Unsupported

Drawn = Ordered | Sequence[Ordered]
REQUIRED = object()


@dataclass(frozen=True)
class Arguments:
    """What a function is called with: tensors, numbers and lists. generation: Keras's."""

    canvas: Canvas
    placed: list[Any]
    named: dict[str, Any]
    generation: int = 3

    def get(self, place: int, *names: str, default: Any = REQUIRED) -> Any:
        """The argument at a place, or by the first of the names that is there; raises Unsupported for a missing one."""
        if 0 <= place < len(self.placed):
            return self.placed[place]
        found = next((self.named[name] for name in names if name in self.named), default)
        if found is REQUIRED:
            raise Unsupported("argument", f"its argument {names[0] if names else place} is missing")
        return found

    def tensor(self, place: int, *names: str, like: Ordered | None = None) -> Ordered:
        """A tensor; a number becomes a constant in the type of `like`."""
        held = self.get(place, *(names or ("x", "a", "input", "inputs", "tensor", "input_tensor", "features", "image")))
        if isinstance(held, Ordered):
            return held
        kind = np.float32 if like is None else like.dtype.numpy()
        return self.canvas.constant(np.asarray(held).astype(kind), "number")

    def pair(self) -> tuple[Ordered, Ordered]:
        """Two operands, either of which may be a number."""
        left, right = self.get(0, "x", "x1", "a"), self.get(1, "y", "x2", "b")
        like = next((item for item in (left, right) if isinstance(item, Ordered)), None)
        if like is None:
            raise Unsupported("argument", "it works on numbers alone")
        made = [item if isinstance(item, Ordered) else self._number(item, like) for item in (left, right)]
        return made[0], made[1]

    def _number(self, item: Any, like: Ordered) -> Ordered:
        array = np.asarray(item)
        if array.dtype.kind == "f" and like.dtype.numpy().kind in "iub":
            return self.canvas.constant(array.astype(np.float32), "number")
        return self.canvas.constant(array.astype(like.dtype.numpy()), "number")

    def whole(self, place: int, *names: str, default: Any = REQUIRED) -> Any:
        """A number or a list of numbers, in a constant tensor too; raises Unsupported for a computed one."""
        held = self.get(place, *names, default=default)
        if isinstance(held, Ordered):
            if held.known is None:
                raise Unsupported("computed-argument", f"its argument {names[0]} is computed")
            return held.known.tolist()
        return held

    def axes(self, x: Ordered) -> list[int]:
        """The axes of a reduction; all of them unless they are said."""
        held = self.whole(1, "axis", "axes", "reduction_indices", default=None)
        return list(range(x.rank)) if held is None else [held] if isinstance(held, int) else list(held)

    @property
    def keepdims(self) -> bool:
        """Whether reduced axes stay, of size one."""
        return bool(self.get(2, "keepdims", "keep_dims", default=False))


Function = Callable[[Canvas, Arguments], Drawn]
TABLE: dict[str, Function] = {}


def function(*names: str) -> Callable[[Function], Function]:
    """Register by the names that dialects have for it, in lower case with underscores."""

    def register(made: Function) -> Function:
        for name in names:
            TABLE[name] = made
        return made

    return register
