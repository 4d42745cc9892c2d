"""Errors a user can meet. Each is one paragraph: what, where, why, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


class BessemerError(Exception):
    """Base of every expected failure; the command line prints `str(error)` and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders whole, whatever their constructors ask for."""
        return _rebuild, (type(self), dict(self.__dict__))

    def __str__(self) -> str:
        parts = [self.what.rstrip(".")]
        if self.where:
            parts[0] += f" (at {self.where})"
        parts += [text.rstrip(".") for text in (self.why, self.fix) if text]
        return ". ".join(parts) + "."


def _rebuild(kind: type[BessemerError], state: dict[str, Any]) -> BessemerError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


class UsageError(BessemerError):
    """An option or an argument that cannot be meant."""

    exit_code = 2


class VerificationFailed(BessemerError):
    """An artifact ran and departed from its original by more than the stated bound."""

    exit_code = 4


class RuntimeRefused(BessemerError):
    """A runtime would not load or run a model."""

    exit_code = 4


class UnreadableInput(BessemerError):
    """A file that is broken, hostile or not what its name says."""

    exit_code = 5


class MissingExtra(BessemerError):
    """A runtime or an optional dependency that is not installed."""

    exit_code = 6

    def __init__(self, package: str, *, extra: str, needed_for: str) -> None:
        wanted = f"'bessemer[{extra}]'" if extra else package
        super().__init__(
            f"{needed_for} needs the package '{package}', which is not installed",
            fix=f"Install it with: pip install {wanted}",
        )


@dataclass(frozen=True)
class Blocker:
    """One reason why a target cannot run a model."""

    node: str
    op: str
    rule: str
    reason: str
    layer: str = ""
    rewrite: str = ""

    def line(self) -> str:
        """The blocker as one line of a terminal."""
        name = f" '{self.node}'" if self.node else ""
        origin = f" from layer '{self.layer}'" if self.layer and self.layer != self.node else ""
        hint = f" Nearest legal form: {self.rewrite}." if self.rewrite else ""
        return f"{self.op}{name}{origin}: {self.reason.rstrip('.')} [{self.rule}].{hint}"

    def as_dict(self) -> dict[str, str]:
        """The blocker as it stands in the evidence."""
        return asdict(self)


class Declined(BessemerError):
    """A target cannot run the model; `blockers` holds every reason at once."""

    exit_code = 3

    def __init__(self, target: str, blockers: Sequence[Blocker]) -> None:
        self.target = target
        self.blockers = tuple(blockers)
        count = len(self.blockers)
        super().__init__(f"{target} cannot run this model: {count} blocker{'s' * (count != 1)}")

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {blocker.line()}" for blocker in self.blockers)])
