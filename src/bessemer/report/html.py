"""Evidence as one self-contained HTML page: no script, nothing external, light and dark, made to print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.report import language, units, words

if TYPE_CHECKING:
    from jinja2 import Environment

    from bessemer.verify.evidence import Evidence

SECURITY = "default-src 'none'; style-src 'unsafe-inline'"


def render(evidence: Evidence) -> str:
    """The page. Every text of the model is escaped: names in a hostile file stay text."""
    return _environment().get_template("report.html.j2").render(e=evidence, security=SECURITY)


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """(name, count, width of the bar in percent), largest first."""
    most = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, number, max(1, round(100 * number / most))) for name, number in ordered]


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bessemer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": units.size,
        "count": units.count,
        "seconds": units.seconds,
        "milliseconds": units.milliseconds,
        "number": units.number,
        "decibel": units.decibel,
        "percent": units.percent,
        "shape": units.shape,
        "by_count": by_count,
        "chosen": words.chosen,
        "losses": words.losses,
        "floats": words.floats,
        "filename": lambda path: Path(path).name,
    }
    environment.globals |= {"words": words, "language": language}
    return environment
