"""Arithmetic of shapes whose dims may be unbound: an int, a symbol's name, or None where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bessemer.ir.types import Shape
from bessemer.sources.drawing import Unsupported

Dim = int | str | None


LARGEST = 1 << 28
"""Elements of a constant that is made up from a model's sizes, at most."""


def bounded(*sizes: int) -> None:
    """Raise Unsupported where a constant of these sizes would be larger than any model needs: sizes may be hostile."""
    if math.prod(sizes) > LARGEST:
        raise Unsupported("too-large", f"it asks for a constant of {' x '.join(map(str, sizes))} elements")


def broadcast_dim(first: Dim, second: Dim) -> Dim:
    """What two axes become together; raises Unsupported where they cannot."""
    if first == second or second == 1:
        return first
    if first == 1:
        return second
    if isinstance(first, int) and isinstance(second, int):
        raise Unsupported("broadcast", f"axes of {first} and {second} do not broadcast")
    if isinstance(first, int) or isinstance(second, int):
        return first if isinstance(first, int) else second  # the unbound one is that or one
    return None


def broadcast(*shapes: Shape) -> Shape:
    """numpy's rule, from the last axis on."""
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        raised = (1,) * (rank - len(shape)) + tuple(shape)
        result = [broadcast_dim(held, dim) for held, dim in zip(result, raised, strict=True)]
    return tuple(result)


def total(dims: Iterable[Dim]) -> Dim:
    """Sum; None where a dim is unbound (a single one beside zeros keeps its name)."""
    held = [dim for dim in dims if dim != 0]
    if len(held) == 1:
        return held[0]
    bound = [dim for dim in held if isinstance(dim, int)]
    return sum(bound) if len(bound) == len(held) else None


def product(dims: Iterable[Dim]) -> Dim:
    """Number of elements; None where a dim is unbound (a single one beside ones keeps its name)."""
    held = [dim for dim in dims if dim != 1]
    if len(held) == 1:
        return held[0]
    bound = [dim for dim in held if isinstance(dim, int)]
    if 0 in bound:
        return 0
    return math.prod(bound) if len(bound) == len(held) else None


def filled(before: Shape, after: Sequence[Dim]) -> Shape:
    """`after` with its -1 worked out from the elements of `before`; None where that needs an unbound dim.

    Raises Unsupported where the number of elements differs.
    """
    if -1 not in after:
        known, wanted = product(before), product(after)
        if isinstance(known, int) and isinstance(wanted, int) and known != wanted:
            raise Unsupported("reshape", f"{list(before)} has not as many elements as {list(after)}")
        return tuple(after)
    rest, left = list(before), [dim for dim in after if dim != -1]
    for dim in [dim for dim in left if isinstance(dim, str)]:
        if dim in rest:
            rest.remove(dim)
            left.remove(dim)
    have, taken = product(rest), product(left)
    missing: Dim = None
    if isinstance(have, int) and isinstance(taken, int) and taken:
        if have % taken:
            raise Unsupported("reshape", f"{list(before)} does not divide into {list(after)}")
        missing = have // taken
    elif taken == 1:
        missing = have
    elif isinstance(taken, int) and taken and len([dim for dim in rest if not isinstance(dim, int)]) == 1:
        bound = math.prod(dim for dim in rest if isinstance(dim, int))
        missing = next(dim for dim in rest if not isinstance(dim, int)) if bound == taken else None
    return tuple(missing if dim == -1 else dim for dim in after)


def sliced(dim: Dim, start: int, stop: int, step: int) -> Dim:
    """Length of a slice, bounds as numpy takes them; an unbound dim keeps its name where all of it is taken."""
    if isinstance(dim, int):
        return len(range(*slice(start, stop, step).indices(dim)))
    if start == 0 and step == 1 and stop > 2**31:
        return dim
    if start < 0 and step == 1 and stop > 2**31 and start == -1:
        return 1
    if step > 0 and start >= 0 and 0 <= stop <= 1 and start == 0:
        return stop
    return None
