"""One standard node test through one target."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import BessemerError, Declined, MissingExtra, RuntimeRefused
from bessemer.targets.base import Border
from bessemer.verify.closeness import is_numeric, wide
from bessemer.verify.compare import from_artifact, to_artifact

RANDOM = (
    "test_bernoulli",
    "test_random_",
    "test_randomnormal",
    "test_randomuniform",
    "test_multinomial",
    "test_training_dropout",
)
"""Tests whose outputs are drawn: only shape and type can be compared."""

EXECUTOR = "torch"
"""Held to the standard like a target, though it makes no artifacts: the executor of canonical graphs."""


@dataclass(frozen=True)
class Outcome:
    """verdict: 'verified', 'declined', 'wrong' or 'crash'; reason: of everything but 'verified'."""

    name: str
    verdict: str
    reason: str = ""
    rules: tuple[str, ...] = field(default=())


@cache
def node_cases() -> dict[str, Any]:
    """The standard's node test cases by name, from the onnx package."""
    from onnx.backend.test.case.node import collect_testcases

    return {case.name: case for case in collect_testcases() if case.model is not None}


def run_case(name: str, target: str) -> Outcome:
    """Convert, execute and compare one case. Anything that is not a Bessemer error is a crash of ours."""
    with tempfile.TemporaryDirectory(prefix="bessemer-") as folder:
        try:
            judge = _judge_executor if target == EXECUTOR else _judge
            return judge(node_cases()[name], target, Path(folder))
        except MissingExtra:
            raise
        except Declined as refusal:
            rules = tuple(sorted({blocker.rule for blocker in refusal.blockers}))
            return Outcome(name, "declined", "; ".join(sorted({b.reason for b in refusal.blockers})), rules)
        except BessemerError as error:
            return Outcome(name, "crash", f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001  # a crash is what this program looks for
            return Outcome(name, "crash", f"{type(error).__name__}: {error}")


def _judge(case: Any, target: str, folder: Path) -> Outcome:
    from bessemer.opening import normalise, open_model
    from bessemer.request import ConvertOptions
    from bessemer.runners.onnx_reference import StandardRunner
    from bessemer.targets.registry import find, validate

    path = folder / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    lowering = find(target).load()
    prepared = lowering.prepare(model, validate(target, lowering, {}))
    out = folder / "out"
    out.mkdir()
    runner = lowering.runner(lowering.write(prepared, out, "case").path)
    for inputs, expected in case.data_sets:
        named = _named(case.model.graph.input, inputs)
        fed = to_artifact(named, prepared.inputs)
        reason = _answered(case, runner, fed, expected, prepared.outputs)
        if reason and isinstance(runner, StandardRunner):
            # ONNX Runtime's kernel may depart from the standard: the standard's evaluator has the last word
            reason = _first_difference(case, runner.reference().run(fed), expected, prepared.outputs)
        if reason and find(target).runs == "onnx":
            own = _departure(case, lowering, path, named, expected)
            if own:
                said = f"{find(target).runtime} departs from the standard on the original file too: {own}"
                return Outcome(case.name, "declined", said, ("runtime",))
        if reason:
            return Outcome(case.name, "wrong", reason)
    return Outcome(case.name, "verified")


def _judge_executor(case: Any, target: str, folder: Path) -> Outcome:
    """The canonical graph executed in torch; operators that it lacks are spelled out by their function bodies."""
    from bessemer.opening import normalise, open_model
    from bessemer.passes.decompose import inline_until
    from bessemer.request import ConvertOptions
    from bessemer.runners.torch.runner import TorchRunner, lacks

    path = folder / "case.onnx"
    path.write_bytes(case.model.SerializeToString())
    model = open_model(path, ConvertOptions().opening)
    normalise(model, ConvertOptions())
    inline_until(model.graph, lacks)
    for inputs, expected in case.data_sets:
        try:
            answer = TorchRunner(model.graph).run(_named(case.model.graph.input, inputs))
        except RuntimeRefused as refusal:
            return Outcome(case.name, "declined", str(refusal), ("executor",))
        # narrow floats are accumulated in float32 and rounded once: equal to one step of the type
        widened = {key: _single(item) for key, item in answer.items()}
        reason = _first_difference(case, widened, expected, {})
        if reason:
            return Outcome(case.name, "wrong", reason)
    return Outcome(case.name, "verified")


def _single(item: Any) -> Any:
    narrow = isinstance(item, np.ndarray) and item.dtype.name in ("float16", "bfloat16")
    return item.astype(np.float32) if narrow else item


def _departure(case: Any, lowering: Any, path: Path, fed: Any, expected: Any) -> str:
    """What the target's runtime does wrong on the case itself; a case that it cannot load says nothing."""
    try:
        own = lowering.original(path)
    except RuntimeRefused:
        return ""
    return _answered(case, own, fed, expected, {})


def _answered(case: Any, runner: Any, fed: Any, expected: Any, borders: dict[str, Any]) -> str:
    """Why a runner's answer is not the expected one; empty when it is."""
    try:
        return _first_difference(case, runner.run(fed), expected, borders)
    except RuntimeRefused as refusal:
        return str(refusal)


def _named(values: Any, arrays: Any) -> dict[str, Any]:
    return {value.name: _array(item) for value, item in zip(values, arrays, strict=False)}


def _array(item: Any) -> Any:
    """Test data may be a TensorProto; sequences and optionals stay as they are."""
    from onnx import TensorProto, numpy_helper

    if isinstance(item, TensorProto):
        return numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.generic) else item


def _first_difference(case: Any, answer: dict[str, Any], expected: Any, borders: dict[str, Any]) -> str:
    """borders: of an artifact; empty where the original itself answered."""
    drawn = case.name.startswith(RANDOM) and "zero_ratio" not in case.name
    for value, want in zip(case.model.graph.output, expected, strict=False):
        border = borders.get(value.name, Border(value.name, ""))
        got = answer[border.name]
        got = from_artifact(got, border) if isinstance(got, np.ndarray) else got
        reason = _difference(_array(want), got, case.rtol, max(case.atol, _cancelled(case, want)), drawn)
        if reason:
            return f"output '{value.name}': {reason}"
    return ""


def _cancelled(case: Any, want: Any) -> float:
    """One step at the scale of a spectrum: where its waves cancel, the standard's float32 numbers are what rounding left
    (test_dft_inverse expects 2e-7 where the sum is 0)."""
    array = _array(want)
    if not case.name.startswith(("test_dft", "test_stft")) or array.dtype != np.float32:
        return 0.0
    return float(np.finfo(np.float32).eps) * float(np.abs(array).max(initial=0.0))


def _difference(want: Any, got: Any, rtol: float, atol: float, drawn: bool) -> str:
    if isinstance(want, (list, tuple)):
        pairs = [] if len(want) != len(got) else list(zip(want, got, strict=True))
        reasons = [_difference(_array(a), b, rtol, atol, drawn) for a, b in pairs]
        return "" if len(want) == len(got) and not any(reasons) else f"sequence differs: {reasons}"
    if want is None or got is None:
        return "" if want is got else f"{want} against {got}"
    a, b = np.asarray(want), np.asarray(got)
    if a.shape != b.shape:
        return f"shape {a.shape} against {b.shape}"
    if drawn:
        return ""
    if not is_numeric(a) or not is_numeric(b):
        return "" if np.array_equal(a.astype(object), b.astype(object)) else "values differ"
    if np.allclose(wide(a), wide(b), rtol=rtol, atol=max(atol, 1e-7, _resolution(a, b)), equal_nan=True):
        return ""
    return f"differs by up to {np.nanmax(np.abs(wide(a) - wide(b))):g}"


def _resolution(want: Any, got: Any) -> float:
    """One step of a half-precision answer at its own scale, where the artifact computed in more precision."""
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(want.dtype.name)
    if step is None or got.dtype == want.dtype or want.size == 0:
        return 0.0
    finite = wide(want)[np.isfinite(wide(want))]
    return step * float(np.abs(finite).max(initial=0.0))


def quiet() -> None:
    """Runtimes chatter on stderr; a worker's belongs to nobody."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
