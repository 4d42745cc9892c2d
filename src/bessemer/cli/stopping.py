"""What `convert --stop-after` and `check` do: parts of the road."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from bessemer.cli.options import Asked
from bessemer.ir.errors import Declined, UsageError

if TYPE_CHECKING:
    from bessemer.request import Stage


def stop_before_targets(
    asked: Asked, model: Path, out: Path, report: Sequence[Path] | None, stage: Stage, json: bool
) -> None:
    """Save the model after a portable stage and say where."""
    from bessemer.cli.output import Stages, show, show_json
    from bessemer.report import units

    if stage == "quantize":
        if report:
            raise UsageError("--stop-after quantize ends before reports", fix="Leave out --report")
    elif asked.to or report or asked.data is not None:
        raise UsageError(
            f"--stop-after {stage} ends before targets, inputs and reports",
            fix="Leave out --to, --data and --report; give them when the archive is converted",
        )
    options = asked.options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage(stage)
        targets = asked.requests() if stage == "quantize" else ()
        place = pipeline.save_after(stage, model, out, options, targets)
    size = place.stat().st_size
    if json:
        show_json({"stage": stage, "archive": str(place), "bytes": size})
    else:
        show(f"saved after {stage}: {place}  {units.size(size)}", f"go on with: bessemer convert {place} --to TARGET")


def stop_before_writing(asked: Asked, model: Path, report: Sequence[Path] | None, json: bool) -> NoReturn:
    """Lower the model for every target, write nothing, show what each says and leave."""
    from bessemer.cli.output import Stages, show, show_json

    if report:
        raise UsageError("There is no report before artifacts are written", fix="Leave out --report, or use --json")
    options, requests = asked.options(), asked.requests()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("check")
        rows = pipeline.check(model, requests, options)
    if json:
        show_json({"targets": [row.model_dump(mode="json") for row in rows]})
    else:
        from bessemer.report import terminal

        show(*terminal.targets(rows))
    raise typer.Exit(Declined.exit_code if any(row.status == "declined" for row in rows) else 0)
