"""How options say what to clip: `[GLOB=]WHAT`, for weights and activations (`algorithms/*_clipping.py`).

GLOB names nodes, layers, operators or values, and all of them where it is missing; the last rule that fits wins.
WHAT is a mode ('disabled', 'mmse', ...), `percentile:P` or `percentile:LOW:HIGH` (in percent), or `LOW..HIGH` (real
numbers: the manual mode).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir

WEIGHTS = ("disabled", "manual", "percentile", "mmse", "mmse_if4b")
"""Modes for weights."""

ACTIVATIONS = ("disabled", "manual", "percentile")
"""Modes for activations."""

PERCENTILE = 99.99
"""Share of the elements that is kept where 'percentile' comes without a number, in percent."""


@dataclass(frozen=True)
class Clip:
    """A mode with its numbers: low and high are real numbers ('manual') or percentages ('percentile')."""

    mode: str
    low: float = 0.0
    high: float = 0.0


UNCLIPPED = Clip("disabled")


@dataclass(frozen=True)
class Rule:
    """A clip for whatever `glob` names."""

    glob: str
    clip: Clip
    text: str

    def fits(self, names: Iterable[str]) -> bool:
        """Whether one of the names of a thing is meant."""
        return any(name and fnmatchcase(name, self.glob) for name in names)


def rules(texts: Sequence[str], modes: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of an option. Raises UsageError."""
    return tuple(parse(text, modes) for text in texts)


def parse(text: str, modes: Sequence[str]) -> Rule:
    """A rule of `modes` (and of percentile or manual where these are among them). Raises UsageError."""
    glob, equals, what = text.rpartition("=")
    try:
        clip = _clip(what.strip()) if glob.strip() or not equals else Clip("")
    except ValueError:
        clip = Clip("")
    if clip.mode not in modes:
        forms = {"percentile": "percentile:99.9", "manual": "-1.5..1.5"}
        choices = ", ".join(forms.get(mode, mode) for mode in modes)
        raise UsageError(f"'{text}' does not say what to clip", fix=f"Write [GLOB=]WHAT, WHAT being {choices}")
    _check(clip, text)
    return Rule(glob.strip() or "*", clip, text)


def _clip(what: str) -> Clip:
    low, dots, high = what.partition("..")
    if dots:
        return Clip("manual", float(low), float(high))
    mode, *numbers = what.split(":")
    if mode != "percentile":
        return Clip(mode if not numbers else "")
    given = [float(number) for number in numbers] or [PERCENTILE]
    if len(given) > 2:
        return Clip("")
    return Clip(mode, *((100 - given[0], given[0]) if len(given) == 1 else given))


def _check(clip: Clip, text: str) -> None:
    if clip.mode == "manual" and not clip.low <= 0 <= clip.high:
        raise UsageError(
            f"The range of '{text}' does not hold 0", why="integers must be able to say 0 (padding, ReLU)"
        )
    if clip.mode in ("manual", "percentile") and not clip.low < clip.high:
        raise UsageError(f"The range of '{text}' is empty", fix="Give the lower end first")
    if clip.mode == "percentile" and not (clip.low >= 0 and clip.high <= 100):
        raise UsageError(f"The percentages of '{text}' are not between 0 and 100")


def rule_for(given: Sequence[Rule], names: Sequence[str]) -> Rule | None:
    """The last rule that fits."""
    return next((rule for rule in reversed(given) if rule.fits(names)), None)


def names_of(node: onnx_ir.Node) -> tuple[str, ...]:
    """What a glob may call a node: its name, its operator, the layers that it came from."""
    from bessemer.ir.model import layer_of

    return (node.name or "", node.op_type, *layer_of(node).split(";"))


def refuse_idle(given: Sequence[Rule], things: Iterable[Sequence[str]], what: str) -> None:
    """Raise UsageError for a rule with a glob that names nothing."""
    known = list(things)
    for rule in given:
        if rule.glob != "*" and not any(rule.fits(names) for names in known):
            examples = ", ".join(sorted({names[0] for names in known if names[0]})[:3])
            raise UsageError(f"No {what} is named '{rule.glob}' (in '{rule.text}')", fix=f"Names are like {examples}")
