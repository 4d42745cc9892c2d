"""`bessemer run`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bessemer.cli import options as o

if TYPE_CHECKING:
    from bessemer.ir.types import Array

Save = Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Write all outputs to this .npz.")]


@o.asks(*o.INPUTS)
def command(asked: o.Asked, model: o.ModelPath, save: Save = None, json: o.Json = False) -> None:
    """Run a model in its own runtime, on --data or on seeded inputs, and summarise the outputs."""
    from bessemer.cli.output import Stages, show, show_json
    from bessemer.ir.errors import UsageError

    if save is not None and save.suffix != ".npz":
        raise UsageError(f"--save {save} has no known suffix", fix="End the name in .npz")
    options = asked.options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("run")
        answers = pipeline.run(model, options)
    if save is not None:
        _save(answers, save)
    summary = [{name: _facts(array) for name, array in answer.items()} for answer in answers]
    if json:
        show_json({"model": str(model), "sets": summary, "saved": str(save) if save else None})
    else:
        show(_table(summary), *([f"saved: {save}"] if save else []))


def _save(answers: list[dict[str, Array]], path: Path) -> None:
    """One set keeps its output names; of several, set k's outputs are called `NAME.k`."""
    import numpy as np

    from bessemer.ir.errors import UsageError

    many = len(answers) > 1
    arrays = {
        f"{name}.{index}" if many else name: array
        for index, answer in enumerate(answers)
        for name, array in answer.items()
    }
    draft = path.with_name(f".{path.stem}.tmp.npz")
    try:
        with draft.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        draft.replace(path)
    except (OSError, ValueError) as error:
        with suppress(OSError):  # the folder itself may be what is wrong
            draft.unlink(missing_ok=True)
        raise UsageError(f"The outputs cannot be written to {path}", why=str(error)) from None


def _facts(array: Array) -> dict[str, Any]:
    """Type, shape, and range over the finite elements."""
    import numpy as np

    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype.kind not in "biufV" or not array.size:
        return facts
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size:
        facts |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
    return facts | {"not_finite": int(values.size - finite.size)}


def _table(summary: list[dict[str, dict[str, Any]]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from bessemer.report import units

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("set", "output", "type", "shape"):
        table.add_column(title)
    for title in ("min", "max", "mean", "not finite"):
        table.add_column(title, justify="right")
    for index, outputs in enumerate(summary):
        for name, facts in outputs.items():
            numbers = [units.number(facts.get(key)) for key in ("min", "max", "mean")]
            odd = str(facts.get("not_finite", 0))
            shape = units.shape(facts["shape"])
            table.add_row(str(index), Text(name), facts["dtype"], shape, *numbers, odd)
    return table
