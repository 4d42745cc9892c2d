"""A module as a torch.export program whose named axes are free, within the bounds that the module itself sets.

torch proves that a program is right for all sizes of a named axis, or says which ones it is right for: a table of
positions bounds the number of tokens, say. Ranges are taken over; where only one size would do, the export is declined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bessemer.ir.errors import Blocker, Declined
from bessemer.sources.huggingface.guards import hold
from bessemer.sources.huggingface.tasks.base import Port
from bessemer.sources.torch.quiet import quiet

TRIES = 4
DEFER = "prefer_deferred_runtime_asserts_over_guards"
"""torch's option to go on with conditions that it cannot prove."""
RANGE = re.compile(r"^\s*(\w+) = Dim\('\w+'(?:, min=(\d+))?(?:, max=(\d+))?\)\s*$", re.MULTILINE)
OTHER = re.compile(r"^\s*(\w+) = (?!Dim\()(.+)$", re.MULTILINE)
Bounds = dict[str, tuple[int | None, int | None]]


SMALLEST: Bounds = {"height": (33, None), "width": (33, None)}
"""Sides below it shrink to one pixel on the way through a usual vision model, and torch takes one for another case."""


def trace(module: Any, ports: Sequence[Port], args: tuple[Any, ...]) -> tuple[Any, Bounds]:
    """The program, and the sizes that its axes may have. Raises Declined."""
    import torch

    bounds = {name: pair for name, pair in SMALLEST.items() if any(name in port.axes for port in ports)}
    reason = ""
    given: dict[str, Any] = {"strict": False}
    for _ in range(TRIES):
        try:
            with quiet(), torch.no_grad():
                program = torch.export.export(module, args, dynamic_shapes=(_free(ports, bounds),), **given)
            return program, bounds
        except Exception as error:  # noqa: BLE001  # torch raises anything, from the module's own code, too
            said, reason = str(error), _reason(str(error), error)
        found = _suggested(said)
        if found and not found.items() <= bounds.items():
            bounds |= found
        elif DEFER not in given and not OTHER.search(said.partition("Suggested fixes:")[2]) and hold(said, ports, bounds):
            given[DEFER] = True
        else:
            break
    name = type(module.wrapped).__name__
    rewrite = "sizes said with --shape"
    raise Declined("torch.export", [Blocker("", name, "torch-export", reason, rewrite=rewrite)]) from None


def _free(ports: Sequence[Port], bounds: Bounds) -> tuple[dict[int, Any], ...]:
    """For each port the free axes; sums of others are left to torch, which finds them."""
    import torch

    def dim(name: str) -> Any:
        low, high = bounds.get(name, (None, None))
        return torch.export.Dim(name, min=low, max=high)

    names = {axis for port in ports for axis in port.axes if isinstance(axis, str) and " + " not in axis}
    dims: Mapping[str, Any] = {name: dim(name) for name in names}
    return tuple(
        {
            place: dims.get(axis, torch.export.Dim.AUTO)
            for place, axis in enumerate(port.axes)
            if isinstance(axis, str)
        }
        for port in ports
    )


def _suggested(message: str) -> Bounds:
    """Ranges that torch suggests; none where it asks for anything else, a fixed size above all."""
    _, _, fixes = message.partition("Suggested fixes:")
    if not fixes or OTHER.search(fixes):
        return {}
    return {
        name: (int(low) if low else None, int(high) if high else None) for name, low, high in RANGE.findall(fixes)
    }


def _reason(message: str, error: Exception) -> str:
    _, _, fixes = message.partition("Suggested fixes:")
    asked = "; ".join(f"{name} = {value}" for name, value in OTHER.findall(fixes))
    if asked:
        return f"torch.export finds it right for some sizes only: {asked}"[:300]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"torch.export cannot capture it: {type(error).__name__}: {' '.join(lines[:2])}"[:400]


def bounded(bounds: Bounds) -> str:
    """Sizes that are bounded, as a sentence; empty where none is."""
    parts = [f"{name} from {low}" for name, (low, _) in sorted(bounds.items()) if low and low > 2]
    parts += [f"{name} up to {high}" for name, (_, high) in sorted(bounds.items()) if high]
    return f"The model takes {', '.join(parts)}" if parts else ""
