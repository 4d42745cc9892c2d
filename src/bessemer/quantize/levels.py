"""What is asked of the quantize stage: its options, and the optimisation levels that bundle algorithms."""

from __future__ import annotations

from dataclasses import dataclass

from bessemer.ir.errors import UsageError
from bessemer.quantize.ranges import METHODS
from bessemer.quantize.scheme import SCHEMES


@dataclass(frozen=True)
class Quantize:
    """Options of the stage.

    precision: a static scheme ('int8', 'int16x8'); method, percentile: how activation ranges are chosen ('auto' tries
    several and keeps the one whose outputs are nearest to the float model's); level: see LEVELS (None: the highest
    that the data allows); keep: globs of nodes, layers or operators that stay float.
    """

    precision: str = "int8"
    method: str = "auto"
    percentile: float = 99.99
    level: int | None = None
    keep: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in SCHEMES:
            raise UsageError(
                f"'{self.precision}' is no static scheme", fix=f"Choose one of {', '.join(SCHEMES)}"
            )
        if self.method not in ("auto", *METHODS):
            raise UsageError(
                f"There is no range method '{self.method}'", fix=f"Choose auto or one of {', '.join(METHODS)}"
            )
        if self.level is not None and self.level not in LEVELS:
            raise UsageError(
                f"There is no optimisation level {self.level}",
                fix=f"Choose one of {', '.join(map(str, LEVELS))}",
            )


@dataclass(frozen=True)
class Level:
    """What an optimisation level does, and how many samples it needs."""

    equalize: bool
    correct: bool
    rounding: bool
    samples: int
    train: bool = False


LEVELS = {
    -100: Level(False, False, False, 1),  # nothing but ranges
    0: Level(True, False, False, 1),  # equalization
    1: Level(True, True, False, 16),  # equalization, bias correction
    2: Level(True, False, False, 1024, train=True),  # equalization, fine-tuning
    3: Level(True, True, True, 256),  # equalization, AdaRound on 256 samples, bias correction
    4: Level(True, True, True, 1024),  # equalization, AdaRound on 1,024 samples, bias correction
}
"""Optimisation levels; 2 trains (extra `train`), takes long, and is only chosen where it is asked for."""


NEEDED = {"average": 2, "percentile": 8, "entropy": 8}
"""Samples without which a range method that was asked for by name says no more than the extremes do."""


def check_enough(how: Quantize, samples: int) -> None:
    """Raise UsageError where a level or a method was asked for by name and there are too few samples for it."""
    choose_level(how, samples)
    need = NEEDED.get(how.method, 1)
    if samples < need:
        raise UsageError(
            f"Ranges by '{how.method}' need {need} calibration samples, there are {samples}",
            fix="Give more data, or choose --ranges minmax",
        )


def choose_level(how: Quantize, samples: int) -> tuple[int, str]:
    """The level and the reason. Raises UsageError for one that asks for more samples than there are."""
    if how.level is None:
        open_to = {number: level for number, level in LEVELS.items() if not level.train}
        best = max(number for number, level in open_to.items() if level.samples <= samples)
        above = [level.samples for number, level in open_to.items() if number > best]
        more = f"; {min(above)} samples would allow more" if above else ""
        return best, f"the highest that {samples} samples allow{more}"
    need = LEVELS[how.level].samples
    if samples < need:
        raise UsageError(
            f"Optimisation level {how.level} needs {need} calibration samples, there are {samples}",
            fix="Give more data, or a lower level",
        )
    return how.level, "asked for"
