"""Two files on the same inputs: what `compare` and `verify` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.errors import BessemerError, UsageError
from bessemer.ir.signature import TensorSpec
from bessemer.ir.types import Shape
from bessemer.runners.isolated import IsolatedRunner
from bessemer.targets.base import Border
from bessemer.verify import evidence as ev
from bessemer.verify.closeness import Closeness
from bessemer.verify.judge import judge
from bessemer.verify.landmarks import quantization_steps
from bessemer.verify.reference import reference_of

if TYPE_CHECKING:
    from bessemer.request import ConvertOptions


def compared_row(a: Path, b: Path, options: ConvertOptions, bound: str) -> ev.TargetEvidence:
    """Two files on the same inputs, outputs paired by name where names agree, else by position.

    A cut is one of `a`; `b` is taken as it is.
    """
    from bessemer.opening import graph_of, original_of

    model = graph_of(a, options)
    part = model is not None and model.cut is not None
    call = "bessemer.executors:of_file"
    with (
        IsolatedRunner(*(original_of(a, options.opening, model) if part else (call, str(a), options.opening))) as left,
        IsolatedRunner(call, str(b), replace(options.opening, inputs=(), outputs=())) as right,
    ):
        reference = reference_of(left, model, options)
        mine = model.signature if model is not None and part else left.signature
        inputs = paired(mine.inputs, right.signature.inputs, a, b)
        outputs = paired(mine.outputs, right.signature.outputs, a, b)
        crash, verdict = "", None
        try:
            steps = {} if model is None else quantization_steps(model)
            verdict = judge(reference, right, inputs, outputs, Closeness.parse(bound), steps=steps)
        except BessemerError as error:
            crash = str(error)
        runtime = right.runtime
    good = verdict is not None and verdict.within
    said = f"Every output within {bound}." if good else crash or f"Outputs depart by more than {bound}."
    return ev.TargetEvidence(
        target=str(b),
        precision="",
        options={},
        status="executed" if good else "failed",
        verified=good,
        summary=said,
        runtime=runtime,
        reference=reference.runtime,
        bound=bound,
        input_sets=[item.title for item in reference.sets],
        outputs=verdict.outputs if verdict else [],
        accuracy=verdict.accuracy if verdict else None,
        notes=[*reference.notes, *(f"{a} refuses this input set: {title}" for title in reference.refused)],
    )


def paired(mine: Sequence[TensorSpec], theirs: Sequence[TensorSpec], a: Path, b: Path) -> dict[str, Border]:
    """Borders from `mine` to `theirs`: by name, else by position; an axis order is found where only one fits."""
    if len(mine) != len(theirs):
        raise UsageError(f"{a} and {b} differ in their borders: {len(mine)} against {len(theirs)} tensors")
    names = {spec.name: spec for spec in theirs}
    by_name = all(spec.name in names for spec in mine)
    pairs = [(spec, names[spec.name] if by_name else theirs[index]) for index, spec in enumerate(mine)]
    return {left.name: Border(right.name, right.dtype, _axis_order(left, right)) for left, right in pairs}


def _axis_order(left: TensorSpec, right: TensorSpec) -> tuple[int, ...] | None:
    from bessemer.ir.layout import channels_first, channels_last

    rank = len(left.shape)
    if rank != len(right.shape) or rank < 3 or _alike(left.shape, right.shape):
        return None
    for perm in (channels_last(rank), channels_first(rank)):
        if _alike(tuple(left.shape[axis] for axis in perm), right.shape):
            return perm
    return None


def _alike(mine: Shape, theirs: Shape) -> bool:
    """Whether two shapes can be one: unbound sizes, whatever they are called, agree with any."""
    return all(x == y or not (isinstance(x, int) and isinstance(y, int)) for x, y in zip(mine, theirs, strict=True))
