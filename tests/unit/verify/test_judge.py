"""The verdict: borders are undone before comparing, refused sets are named, failing sets are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.targets.base import Border
from bessemer.verify.closeness import Closeness
from bessemer.verify.departure import departure
from bessemer.verify.divergence import Landmark, first_divergence
from bessemer.verify.inputs import InputSet
from bessemer.verify.judge import judge, run_original


class Function:
    """A runner of a Python function: values by name, in order."""

    runtime = "python"

    def __init__(self, call: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
        self.call = call
        self.signature = Signature(
            (TensorSpec("x", "float32", (2, 3)),), (TensorSpec("y", "float32", (2, 3)),)
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.call(dict(inputs))

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        values = self.call(dict(inputs))
        return {name: values[name] for name in names if name in values}


def sets(*arrays: Array) -> list[InputSet]:
    return [InputSet(f"set {index}", {"x": array}) for index, array in enumerate(arrays)]


X = np.arange(6, dtype=np.float32).reshape(2, 3)
SAME = {"y": Border("y", "float32")}
BOUND = Closeness.parse("close(1e-5, 1e-5)")


def test_an_equal_artifact_is_within_and_a_transposed_border_is_undone() -> None:
    reference = run_original(Function(lambda v: {"y": v["x"] * 2}), sets(X))
    artifact = Function(lambda v: {"out": (v["in"] * 2).astype(np.float64)})
    inputs, outputs = {"x": Border("in", "float32", (1, 0))}, {"y": Border("out", "float64", (1, 0))}
    verdict = judge(reference, artifact, inputs, outputs, BOUND)
    assert verdict.within
    assert verdict.outputs[0].max_abs == 0


def test_the_first_failing_set_is_reported() -> None:
    reference = run_original(Function(lambda v: {"y": v["x"]}), sets(X, X + 9, X + 10))
    artifact = Function(lambda v: {"y": np.minimum(v["x"], 12)})
    verdict = judge(reference, artifact, {"x": Border("x", "float32")}, SAME, BOUND)
    assert not verdict.within
    assert verdict.failing_set is not None
    assert verdict.failing_set.title == "set 1"


def test_refused_sets_are_named_and_all_refused_is_an_error() -> None:
    def picky(values: dict[str, Array]) -> dict[str, Array]:
        if values["x"].max() > 5:
            raise UsageError("too large")
        return {"y": values["x"]}

    reference = run_original(Function(picky), sets(X, X + 1))
    assert reference.refused == ["set 1"]
    with pytest.raises(UsageError, match=r"refuses every input set.*too large.*--data"):
        run_original(Function(picky), sets(X + 1))


def test_accuracy_counts_right_labels_on_both_sides() -> None:
    scores = np.float32([[0, 1, 2], [5, 1, 0]])
    labelled = [InputSet("labelled", {"x": X}, np.array([2, 0]))]
    reference = run_original(Function(lambda v: {"y": scores}), labelled)
    artifact = Function(lambda v: {"y": scores[:, ::-1]})
    verdict = judge(reference, artifact, {"x": Border("x", "")}, SAME, BOUND)
    assert verdict.accuracy is not None
    assert (verdict.accuracy.original, verdict.accuracy.artifact) == (1.0, 0.0)


def test_labels_stay_with_their_samples_when_the_original_refuses_a_set() -> None:
    def picky(values: dict[str, Array]) -> dict[str, Array]:
        if values["x"].max() > 100:
            raise UsageError("too large")
        return {"y": np.float32([[0, 1, 2], [5, 1, 0]])}

    labelled = [InputSet("a", {"x": X + 200}, np.array([1, 1])), InputSet("b", {"x": X}, np.array([2, 0]))]
    reference = run_original(Function(picky), labelled)
    verdict = judge(reference, Function(picky), {"x": Border("x", "")}, SAME, BOUND)
    assert verdict.accuracy is not None
    assert (verdict.accuracy.samples, verdict.accuracy.original) == (2, 1.0)


def test_labels_that_the_model_cannot_know_are_an_error() -> None:
    scores = np.float32([[0, 1, 2], [5, 1, 0]])
    reference = run_original(Function(lambda v: {"y": scores}), [InputSet("a", {"x": X}, np.array([3, 0]))])
    with pytest.raises(UsageError, match=r"reach from 0 to 3.*3 classes.*--label-offset"):
        judge(reference, Function(lambda v: {"y": scores}), {"x": Border("x", "")}, SAME, BOUND)


def test_the_first_value_that_departs_is_named_with_its_layer() -> None:
    original = Function(lambda v: {"a": v["x"], "b": v["x"] + 1, "y": v["x"] + 2})
    artifact = Function(lambda v: {"a": v["x"], "b": v["x"] + 1.5, "y": v["x"] + 9})
    marks = [Landmark(Border(n, ""), Border(n, ""), f"layer_{n}", "Add") for n in ("a", "b", "y")]
    found = first_divergence(original, artifact, {"x": Border("x", "float32")}, sets(X)[0], marks, BOUND)
    assert found is not None
    assert (found.value, found.layer, found.max_abs) == ("b", "layer_b", 0.5)


def test_a_demanded_share_of_agreeing_rows_is_a_share_of_all_rows() -> None:
    """One row of four departs: each set alone would fail a share of 0.7, all of them together do not."""
    arrays = [np.float32([[0, 1], [1, 0]]), np.float32([[0, 2], [3, 0]])]
    reference = run_original(Function(lambda v: {"y": v["x"]}), sets(*arrays))
    artifact = Function(lambda v: {"y": np.where(v["x"] == 3, -1, v["x"])})
    for share, within in ((0.7, True), (0.8, False)):
        bound = Closeness.parse(f"exact or top1({share})")
        verdict = judge(reference, artifact, {"x": Border("x", "float32")}, SAME, bound)
        assert verdict.outputs[0].top1 == 0.75
        assert verdict.within is within, share
        assert (verdict.failing_set is None) is within


@pytest.mark.parametrize(("count", "within"), [(3, False), (40, True)])
def test_an_snr_over_many_sets_is_that_of_all_of_them(count: int, within: bool) -> None:
    """One set of `count` is lost altogether (0 dB): too much of three, one part in forty is 16 dB."""
    arrays = [np.full((1, 4), 1 + n, np.float32) for n in range(count)]
    reference = run_original(Function(lambda v: {"y": v["x"]}), sets(*arrays))
    artifact = Function(lambda v: {"y": np.where(v["x"] == 2, 0, v["x"])})
    border = {"x": Border("x", "float32")}
    assert judge(reference, artifact, border, SAME, Closeness.parse("snr(15)")).within is within
    assert not judge(reference, artifact, border, SAME, Closeness.parse("snr(17)")).within
    assert not judge(reference, artifact, border, SAME, Closeness.parse("exact")).within


def test_unknown_sizes_are_named_with_the_options_that_say_them() -> None:
    """A model that takes 7 columns only: no generated size fits, and the error says what to type."""
    from bessemer.request import ConvertOptions
    from bessemer.verify.reference import reference_of

    def picky(values: dict[str, Array]) -> dict[str, Array]:
        if values["x"].shape[1] != 7:
            raise UsageError("7 columns, please")
        return {"y": values["x"]}

    original = Function(picky)
    original.signature = Signature((TensorSpec("x", "float32", ("N", None)), TensorSpec("k", "int64", (2,))), ())
    with pytest.raises(UsageError, match=r"x: float32\[N, \?\].*7 columns.*--shape x=AxB.*--data") as caught:
        reference_of(original, None, ConvertOptions())
    assert "k:" not in str(caught.value)
    found = reference_of(original, None, ConvertOptions(shapes={"x": (2, 7)}))
    assert {item.arrays["x"].shape for item in found.sets} == {(2, 7)}


def refuse(_values: dict[str, Array]) -> dict[str, Array]:
    raise RuntimeRefused("The runtime refuses m.onnx", why="no kernel")


def test_a_runtime_that_departs_on_the_original_is_at_fault() -> None:
    reference = run_original(Function(lambda v: {"y": v["x"]}), sets(X))
    assert departure(Function(lambda v: {"y": v["x"]}), reference, ["y"], BOUND) == ""
    assert "'y' by up to 1" in departure(Function(lambda v: {"y": v["x"] + 1}), reference, ["y"], BOUND)
    assert departure(Function(lambda v: {"y": v["x"] + 1}), reference, [], BOUND) == "", "only what failed counts"
    assert "no kernel" in departure(Function(refuse), reference, ["y"], BOUND)


def test_a_runtime_that_cannot_load_the_original_excuses_nothing() -> None:
    class Unloadable(Function):
        @property
        def signature(self) -> Signature:
            raise RuntimeRefused("The runtime refuses m.onnx", why="opset 99")

        @signature.setter
        def signature(self, value: Signature) -> None:
            """The base class sets one."""

    reference = run_original(Function(lambda v: {"y": v["x"]}), sets(X))
    assert departure(Unloadable(refuse), reference, ["y"], BOUND) == ""


def test_the_reference_names_the_runtime_that_really_ran() -> None:
    class Moving(Function):
        """Moves to another runtime on its first run, as StandardRunner does."""

        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            self.runtime = "another"
            return super().run(inputs)

    assert run_original(Moving(lambda v: {"y": v["x"]}), sets(X)).runtime == "another"
