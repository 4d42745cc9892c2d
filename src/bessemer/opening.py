"""The road as far as no target is asked: open, normalise, rewrite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.model import Model
from bessemer.request import STAGES, ConvertOptions, Optimized
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.passes.base import Pass


def open_model(path: Path, options: OpenOptions) -> Model:
    """Raw model of a file, recognised by content."""
    from bessemer.sources.sniff import identify
    from bessemer.sources.validity import blaming

    with blaming(path):
        return identify(path).load().open(path, options)


def graph_of(path: Path, options: ConvertOptions) -> Model | None:
    """The model of a file with the user's shapes bound, from which inputs are generated.

    None for an artifact that can be run, not read.
    """
    from bessemer.targets.registry import target_of

    if target_of(path) is not None:
        return None
    model = open_model(path, options.opening)
    if options.shapes:
        normalise(model, ConvertOptions(shapes=options.shapes, level=0))
    return model


def normalise(model: Model, options: ConvertOptions) -> Optimized:
    """Canonical form and full-precision rewrites, in place; stages that an archive brings along are not run again."""
    from bessemer.passes.base import run_passes
    from bessemer.sources.validity import blaming

    with blaming(model.origin.path):
        records = run_passes(model.graph, passes_until(model, options, "rewrite"))
    return Optimized(model, [*(model.past.passes if model.past else ()), *records])


def passes_until(model: Model, options: ConvertOptions, until: str) -> list[Pass]:
    """What is left to do up to and including the stage `until`."""
    from bessemer.passes.shapes import BindShapes, InferShapes
    from bessemer.passes.standard import canonical_passes, rewriting_passes

    done = STAGES.index(model.past.stage) if model.past else 0
    until = min(until, "rewrite", key=STAGES.index)
    steps: list[Pass] = []
    if done < STAGES.index("normalise"):
        steps += canonical_passes(options.shapes)
    elif options.shapes:
        steps += [BindShapes(dict(options.shapes)), InferShapes()]
    if done < STAGES.index("rewrite") == STAGES.index(until):
        steps += rewriting_passes(options.level)
    return steps
