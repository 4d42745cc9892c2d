"""What is asked of the quantize stage: its options, and the optimisation levels that bundle algorithms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bessemer.ir.errors import UsageError
from bessemer.quantize import clipping
from bessemer.quantize.precision import LayerPrecision
from bessemer.quantize.ranges import METHODS
from bessemer.quantize.scheme import SCHEMES, Scheme

SCALES = ("float", "power-of-two")


@dataclass(frozen=True)
class Quantize:
    """Options of the stage.

    precision: a static scheme ('int8', 'int16x8'); method, percentile: how activation ranges are chosen ('auto' tries
    several and keeps the one whose outputs are nearest to the float model's); level: see LEVELS (None: the highest
    that the data allows); keep: globs of nodes, layers or operators that stay float; layers: overrides of single
    layers' precision, the last that matches wins;
    promote: whether a few nodes may stay float where the outputs would be too far from the float model's otherwise;
    weights_clipping: how far the integers of weights reach, rules '[GLOB=]WHAT' of which the last that matches wins,
    WHAT being disabled, mmse, mmse_if4b, percentile:P or LOW..HIGH (see `clipping.py`); activation_clipping: the same
    for values, by their names or those of the layers that make them (disabled, percentile:P or LOW..HIGH); recollect:
    gather statistics again with these clips acting.
    zero_static: channels that never vary lose their weights (see algorithms.static_channels; at least FEW samples);
    adaround: round weights by AdaRound whatever the level says, on the samples that there are (at least ROUNDED);
    scales: 'float', or 'power-of-two': a shift rescales;
    compression: 0 to 5, the share of the weights' bytes that goes into 4 bits (see COMPRESSION), layers with an
    override apart.
    """

    precision: str = "int8"
    method: str = "auto"
    percentile: float = 99.99
    level: int | None = None
    keep: tuple[str, ...] = ()
    seed: int = 0
    layers: tuple[LayerPrecision, ...] = ()
    weights_clipping: tuple[str, ...] = ("mmse_if4b",)
    activation_clipping: tuple[str, ...] = ()
    recollect: bool = False
    promote: bool = True
    zero_static: bool = False
    adaround: bool = False
    scales: str = "float"
    compression: int = 0

    def __post_init__(self) -> None:
        rules = (self.weight_clips, self.activation_clips)  # raise for what says nothing
        if self.recollect and not rules[1]:
            raise UsageError(
                "recollect gathers statistics behind clipped activations, and none is clipped",
                fix="Give activation_clipping, or leave recollect out",
            )
        if self.precision not in SCHEMES:
            raise UsageError(
                f"'{self.precision}' is no static scheme", fix=f"Choose one of {', '.join(SCHEMES)}"
            )
        if self.scales not in SCALES:
            raise UsageError(f"There are no scales '{self.scales}'", fix=f"Choose one of {', '.join(SCALES)}")
        if self.method not in ("auto", *METHODS):
            raise UsageError(
                f"There is no range method '{self.method}'", fix=f"Choose auto or one of {', '.join(METHODS)}"
            )
        if self.level is not None and self.level not in LEVELS:
            raise UsageError(
                f"There is no optimisation level {self.level}",
                fix=f"Choose one of {', '.join(map(str, LEVELS))}",
            )
        if self.adaround and self.level is not None and not LEVELS[self.level].correct:
            raise UsageError(
                f"AdaRound does not go with optimisation level {self.level}",
                fix="Choose level 1, 3 or 4, or leave one of the two out",
            )
        if self.compression not in COMPRESSION:
            raise UsageError(f"There is no compression level {self.compression}", fix="Choose one of 0 to 5")

    @property
    def weight_clips(self) -> tuple[clipping.Rule, ...]:
        """The rules of `weights_clipping`."""
        return clipping.rules(self.weights_clipping, clipping.WEIGHTS)

    @property
    def activation_clips(self) -> tuple[clipping.Rule, ...]:
        """The rules of `activation_clipping`."""
        return clipping.rules(self.activation_clipping, clipping.ACTIVATIONS)

    @property
    def scheme(self) -> Scheme:
        """The precision with its scales."""
        return replace(SCHEMES[self.precision], power_of_two=self.scales == "power-of-two")



COMPRESSION = {0: 0.0, 1: 0.2, 2: 0.4, 3: 0.6, 4: 0.8, 5: 1.0}
"""Share of the weights' bytes in 4 bits, by compression level."""


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


FEW = 16
"""Below so many samples ranges are a guess: said in the report."""

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


ROUNDED = 64
"""Samples that AdaRound needs where it is asked for by name: levels ask for more, the published figures stand on 256 and
more."""


def choose_level(how: Quantize, samples: int) -> tuple[int, str]:
    """The level and the reason. Raises UsageError for a level or an algorithm that asks for more samples than there are."""
    if how.adaround and samples < ROUNDED:
        raise UsageError(
            f"AdaRound needs {ROUNDED} calibration samples, there are {samples}", fix="Give more data, or leave it out"
        )
    if how.zero_static and samples < FEW:
        raise UsageError(
            f"{samples} calibration samples do not show which channels never vary",
            fix=f"Give {FEW} or more, or leave zero_static out",
        )
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
