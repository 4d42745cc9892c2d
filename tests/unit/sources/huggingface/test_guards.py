"""Conditions that torch leaves open are tried at many sizes, and nothing but arithmetic is evaluated."""

from __future__ import annotations

import pytest

from bessemer.sources.huggingface.guards import hold
from bessemer.sources.huggingface.tasks.base import Port

PORTS = (Port("x", "float32", (1, 3, "height", "width")), Port("past", "float32", (1, 2, "past", 8)))
H, W, P = "L['tensors'][0].size()[2]", "L['tensors'][0].size()[3]", "L['tensors'][1].size()[2]"


def message(*guards: str) -> str:
    lines = [
        f"  - Not all values of a in the specified range satisfy the generated guard {guard}."
        for guard in guards
    ]
    return "\n".join(["Constraints violated (a)! For more information, run with TORCH_LOGS.", *lines])


@pytest.mark.parametrize(
    ("guards", "holds"),
    [
        ((f"min(24 + 8*{P}, 48 + 16*{P}) == (24 + 8*{P})",), True),
        ((f"{P} <= 5000",), False),
        ((f"(1 + (((-1) + {H}) // 32)) != 1",), False),
        ((f"({H} % 32) == 0",), False),
        ((f"{H} + {W} >= {W}", f"max({H}, 1) == {H}"), True),
        ((f"{H} + {W} >= {W}", f"{H} == {W}"), False),
        ((), False),
    ],
)
def test_what_holds_at_every_size(guards: tuple[str, ...], holds: bool) -> None:
    assert hold(message(*guards), PORTS, {}) is holds


def test_bounds_narrow_the_sizes() -> None:
    guard = message(f"(1 + (((-1) + {H}) // 32)) != 1")
    assert hold(guard, PORTS, {"height": (33, None)})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "height.__class__",
        "open('x')",
        "(lambda: 1)()",
        "[1 for a in b]",
        "1 if 1 else 1",
        "'a'",
    ],
)
def test_nothing_else_is_evaluated(text: str) -> None:
    assert not hold(message(text), PORTS, {})
