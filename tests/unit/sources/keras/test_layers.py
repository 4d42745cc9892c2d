"""Random Keras layers: drawn and run in ONNX Runtime, and evaluated in NumPy, against Keras itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.keras import layer_cases
from tests.unit.sources.keras.layer_cases import FAMILIES, Case, cases

from bessemer.sources.drawing import Unsupported

COUNT = 420
"""Distinct configurations here; bench/random_layers.py runs as many as it is told."""


@pytest.fixture(scope="module")
def frameworks() -> dict[int, Any]:
    """Keras by generation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        for name in ("tensorflow", "keras", "tf_keras"):
            pytest.importorskip(name)
        return layer_cases.frameworks()


@pytest.fixture(scope="module")
def verdicts(frameworks: dict[int, Any]) -> list[tuple[Case, str, str]]:
    """(case, 'drawn' or 'evaluated' or 'oracle', what is wrong): every case judged once."""
    found = []
    for number, case in enumerate(cases(7, COUNT)):
        found += [(case, *verdict) for verdict in layer_cases.judged(frameworks, case, number)]
    return found


def test_nothing_is_wrong(verdicts: list[tuple[Case, str, str]]) -> None:
    wrong = [f"{what}: {case.key}: {problem}" for case, what, problem in verdicts if problem and what != "oracle"]
    assert not [line for line in wrong if "declined" not in line]


def test_little_is_declined(verdicts: list[tuple[Case, str, str]]) -> None:
    declined = [case.key for case, _, problem in verdicts if problem.startswith("declined")]
    assert len(declined) <= COUNT // 50
    assert len({case.key for case, what, problem in verdicts if what == "drawn" and not problem}) >= 350


def test_every_family_is_there(verdicts: list[tuple[Case, str, str]]) -> None:
    kinds = Counter(case.kind for case, what, _ in verdicts if what == "drawn")
    assert len(kinds) > 70
    assert {case.generation for case, _, _ in verdicts} == {2, 3}
    assert all(cases(1, 1, [family]) for family in FAMILIES)


def cudnn(kind: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Weights as cuDNN's layers save them, from those of the plain layer: Keras's own conversion."""
    from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

    class Target:
        """What the conversion asks of a layer."""

        units = weights[1].shape[0]
        reset_after = True

    Target.__name__ = f"CuDNN{kind}"
    made: list[np.ndarray] = preprocess_weights_for_loading(Target(), weights)
    return made


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cudnn_layers(frameworks: dict[int, Any], kind: str) -> None:
    rng = np.random.default_rng(3)
    arguments = {"units": 3, "return_sequences": True} | ({"reset_after": True} if kind == "GRU" else {})
    case = Case(kind, arguments, [layer_cases.data(rng, 2, 5, 4)], generation=2)
    layer, wanted = layer_cases.oracle(frameworks[2], case, rng)
    plain = [np.asarray(weight) for weight in layer.weights]

    class Saved:
        """The same layer as a file of cuDNN's has it."""

        name, weights = layer.name, cudnn(kind, plain)

        def get_config(self) -> dict[str, Any]:
            return {"units": 3, "return_sequences": True}

    Saved.__name__ = f"CuDNN{kind}"
    model, fed = layer_cases.drawn(Saved(), case)
    assert layer_cases.close(layer_cases.in_onnxruntime(model, fed), wanted) == ""
    assert layer_cases.close(layer_cases.evaluated(Saved(), case), wanted) == ""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({"mode": "sum"}, lambda a, b: a + b), ({"mode": "mul"}, lambda a, b: a * b),
        ({"mode": "ave"}, lambda a, b: (a + b) / 2), ({"mode": "max"}, np.maximum),
        ({"mode": "concat", "concat_axis": 1}, lambda a, b: np.concatenate([a, b], 1)),
        ({"mode": "dot", "dot_axes": [2, 2]}, lambda a, b: np.einsum("bik,bjk->bij", a, b)),
    ],
)  # fmt: skip
def test_keras_1_merges(mode: dict[str, Any], expected: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = [layer_cases.data(rng, 2, 3, 4) for _ in range(2)]

    class Merge:
        """The layer of that time."""

        name, weights = "merge", ()

        def get_config(self) -> dict[str, Any]:
            return mode

    case = Case("Merge", {}, inputs, generation=1)
    model, fed = layer_cases.drawn(Merge(), case)
    assert layer_cases.close(layer_cases.in_onnxruntime(model, fed), [expected(*inputs)]) == ""
    assert layer_cases.close(layer_cases.evaluated(Merge(), case), [expected(*inputs)]) == ""


@pytest.mark.parametrize("kind", ["LayerScale", "StochasticDepth", "CustomScaleLayer"])
def test_layers_of_keras_applications(frameworks: dict[int, Any], kind: str) -> None:
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    rng = np.random.default_rng(0)
    x = [layer_cases.data(rng, 2, 3, 3, 4) for _ in range(2 if kind == "CustomScaleLayer" else 1)]
    makers: dict[str, Any] = {
        "LayerScale": lambda: LayerScale(0.5, 4), "StochasticDepth": lambda: StochasticDepth(0.5),
        "CustomScaleLayer": lambda: CustomScaleLayer(0.2),
    }  # fmt: skip
    case, layer = Case(kind, {}, x, "list" if len(x) > 1 else "one"), makers[kind]()
    layer_cases.called(layer, case)
    layer.set_weights([rng.normal(size=tuple(weight.shape)) for weight in layer.weights])
    wanted = [np.asarray(layer_cases.called(layer, case))]
    model, fed = layer_cases.drawn(layer, case)
    assert layer_cases.close(layer_cases.in_onnxruntime(model, fed), wanted) == ""
    assert layer_cases.close(layer_cases.evaluated(layer, case), wanted) == ""


@pytest.mark.parametrize(
    ("kind", "config", "rule"),
    [
        ("Hashing", {"num_bins": 3}, "lookup"), ("StringLookup", {}, "lookup"),
        ("Lambda", {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}, "lambda"),
        ("Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAA=="}}}, "lambda"),
        ("Activation", {"activation": "my_own"}, "activation"),
        ("BatchNormalization", {"mode": 1}, "batch-norm-mode"),
        ("TFOpLambda", {"function": "signal.stft"}, "no-reader"),
        ("CategoryEncoding", {"num_tokens": 1 << 40, "output_mode": "one_hot"}, "too-large"),
        ("AdaptiveMaxPooling1D", {"output_size": [1 << 40]}, "too-large"),
        ("ops.Repeat", {"repeats": 1 << 40, "axis": 1}, "too-large"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_declined(kind: str, config: dict[str, Any], rule: str) -> None:
    held = config

    class Layer:
        """A layer with this config."""

        name, weights = "odd", ()

        def get_config(self) -> dict[str, Any]:
            return held

    Layer.__name__ = kind
    with pytest.raises(Unsupported) as refusal:
        layer_cases.drawn(Layer(), Case(kind, {}, [np.zeros((2, 3, 4), np.float32)]))
    assert refusal.value.rule == rule


def test_other_floats_are_noted() -> None:
    import onnx_ir

    from bessemer.runners.keras.layer import Layer
    from bessemer.sources.drawing import Canvas
    from bessemer.sources.keras.registry import readers

    canvas = Canvas([])
    x = canvas.input("x", (None, 4), onnx_ir.DataType.FLOAT16)
    weights = (np.ones((4, 2), np.float16), np.zeros(2, np.float16))
    for name in ("one", "two"):
        config = {"dtype": {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}}
        made = readers()["Dense"](canvas, Layer(name, "Dense", config, weights), [x])
        assert getattr(made, "dtype", None) == onnx_ir.DataType.FLOAT
    assert canvas.notes == ["Layers of the policy mixed_float16 are computed in float32 (first: 'one')."]


@pytest.mark.parametrize(("target", "count"), [("tflite", 45), ("ort", 12)])
def test_a_sample_on_the_whole_road(frameworks: dict[int, Any], target: str, count: int, tmp_path: Path) -> None:
    made = cases(17, count)
    verdicts = {case.key: layer_cases.in_target(target, frameworks, case, at, tmp_path) for at, case in enumerate(made)}
    assert not {key: what for key, what in verdicts.items() if what and not what.startswith("declined")}
    assert sum(not what for what in verdicts.values()) >= 0.9 * count


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_half_policies_are_compared_in_float32(frameworks: dict[int, Any], policy: str, tmp_path: Path) -> None:
    from bessemer.opening import normalise, open_model
    from bessemer.request import ConvertOptions
    from bessemer.runners.graph import GraphRunner
    from bessemer.sources.base import OpenOptions
    from bessemer.sources.keras import SOURCE

    keras, path = frameworks[3], tmp_path / "half.keras"
    kinds = [("Dense", {"units": 4, "activation": "tanh"}), ("LSTM", {"units": 3}), ("Dense", {"units": 2})]
    layers = [getattr(keras.layers, kind)(**held, dtype=policy) for kind, held in kinds]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.save(path)
    x = layer_cases.data(np.random.default_rng(0), 2, 5, 3)
    original = SOURCE.runner(path, OpenOptions())
    assert "reference evaluator" in original.runtime
    drawn = open_model(path, OpenOptions())
    fed = {drawn.signature.inputs[0].name: x}
    assert any(note.startswith(f"Layers of the policy {policy} ") for note in drawn.notes)
    normalise(drawn, ConvertOptions(level=0))
    (wide,), (graph,) = original.run(fed).values(), GraphRunner(drawn.graph).run(fed).values()
    assert layer_cases.close([graph], [wide]) == ""
    assert np.abs(wide - np.asarray(model(x)).astype(np.float32)).max() < 0.03
