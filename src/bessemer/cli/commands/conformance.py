"""`bessemer conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bessemer.cli import options as o
from bessemer.ir.errors import VerificationFailed

if TYPE_CHECKING:
    from bessemer.conformance.cases import Outcome

TargetName = Annotated[
    str, typer.Option("--target", metavar="NAME", help="Target to hold against the standard; 'torch': the executor.")
]
Cases = Annotated[
    list[str] | None, typer.Argument(metavar="[CASE]...", help="Names or globs (test_conv*); all without.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, metavar="N", help="Cases that run at once.")]
Update = Annotated[bool, typer.Option("--update", help="Rewrite the target's gaps.toml (all cases only).")]


def command(
    target: TargetName, cases: Cases = None, jobs: Jobs = 4, update: Update = False, json: o.Json = False
) -> None:
    """Run the ONNX standard's own node tests through a target: converted, executed, compared.

    Exit code: 0 when nothing is wrong and nothing crashes, 4 otherwise; declines are no failure.
    """
    from collections import Counter

    from bessemer.cli.output import Stages, show, show_json
    from bessemer.conformance.cases import EXECUTOR
    from bessemer.ir.errors import UsageError
    from bessemer.runners.torch.runner import load_torch
    from bessemer.targets.registry import find

    if target == EXECUTOR:
        load_torch("Executing a graph in torch")
    else:
        find(target)
    if update and cases:
        raise UsageError("--update needs all cases, not a choice of them")

    from bessemer.conformance.run import run_all

    with Stages() as stages:
        stages.stage("collecting the standard's tests")
        names = _chosen(cases)
        done = 0

        def seen(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            stages.stage(f"{done} of {len(names)}: {outcome.name}", target)

        outcomes = run_all(target, names, jobs=jobs, seen=seen)
    if update:
        _update(target, outcomes)
    counts = Counter(outcome.verdict for outcome in outcomes)
    bad = [outcome for outcome in outcomes if outcome.verdict in ("wrong", "crash")]
    if json:
        told = [{"name": item.name, "verdict": item.verdict, "reason": item.reason} for item in outcomes]
        show_json({"target": target, "counts": dict(sorted(counts.items())), "cases": told})
    else:
        show(*map(_line, bad), f"{target}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    raise typer.Exit(VerificationFailed.exit_code if bad else 0)


def _chosen(patterns: list[str] | None) -> list[str]:
    import warnings
    from fnmatch import fnmatchcase

    from bessemer.conformance.cases import node_cases
    from bessemer.ir.errors import UsageError

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # the standard's cases overflow and divide by zero on purpose
        names = list(node_cases())
    if not patterns:
        return names
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise UsageError(f"No standard test is called {' or '.join(patterns)}")
    return chosen


def _line(outcome: Outcome) -> Any:
    from rich.text import Text

    return Text.assemble((outcome.verdict, "bold red"), f" {outcome.name}: {outcome.reason}")


def _update(target: str, outcomes: list[Outcome]) -> None:
    import bessemer.targets
    from bessemer.conformance import gaps

    root = Path(bessemer.targets.__file__).parent.parent
    (root / gaps.path_of(target)).write_text(gaps.render(target, outcomes), encoding="utf-8")
