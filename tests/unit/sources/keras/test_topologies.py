"""Random Keras models, saved by Keras in every container: read as a graph and evaluated, both as Keras answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from masked import MODELS, masked_model
from models import feeds, flat, random_model

from bessemer.ir.errors import Declined, MissingExtra
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.runners.graph import GraphRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.keras import SOURCE, parse

SEEDS = range(int(os.environ.get("BESSEMER_KERAS_MODELS", "22")))
"""Set the variable to try more."""


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    """Keras 3 on TensorFlow, and tf_keras."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        pytest.importorskip("tensorflow")
        return pytest.importorskip(request.param)


def answers(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What Keras says."""
    made = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(item) for item in flat(made)]


def same(ours: dict[str, np.ndarray], theirs: list[np.ndarray], what: str) -> None:
    assert len(ours) == len(theirs), what
    for (name, one), other in zip(ours.items(), theirs, strict=True):
        assert one.shape == other.shape, f"{what}: {name}"
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5, err_msg=f"{what}: {name}")


def check(path: Path, inputs: list[np.ndarray], theirs: list[np.ndarray], what: str) -> None:
    """The graph in ONNX Runtime, and the reference evaluator, against Keras."""
    model = open_model(path, OpenOptions())
    names = [spec.name for spec in model.signature.inputs]
    fed = dict(zip(names, inputs, strict=True))
    reference = SOURCE.runner(path, OpenOptions(original="reference"))
    same(reference.run(fed), theirs, f"{what}, evaluated")
    assert [spec.name for spec in reference.signature.outputs] == [spec.name for spec in model.signature.outputs]
    normalise(model, ConvertOptions(level=0))
    same(GraphRunner(model.graph).run(fed), theirs, f"{what}, as a graph")


def kinds_of(path: Path) -> set[str]:
    """What makes a model's shape: shared layers, models inside, its borders."""
    _, network, _ = parse(path, OpenOptions())
    specs = list(network.layers.values())
    found = {"inner " + spec.kind for spec in specs if spec.inner is not None}
    found |= {"shared" for spec in specs if len(spec.nodes) > 1 and spec.inner is None}
    found |= {f"{len(network.inputs)} inputs", f"{len(network.outputs)} outputs", network.kind}
    return found | ({"keys"} if network.keys else set())


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_random_models(keras: Any, tmp_path: Path) -> None:
    kinds: set[str] = set()
    for seed in SEEDS:
        keras.backend.clear_session()
        model = random_model(keras, seed)
        inputs = feeds(model, seed)
        theirs = answers(model, inputs)
        for suffix in (".keras", ".h5"):
            path = tmp_path / f"{seed}{suffix}"
            model.save(path)
            check(path, inputs, theirs, f"{keras.__name__} {seed}{suffix}")
            kinds |= kinds_of(path)
    assert {"inner Sequential", "inner Functional", "shared", "3 inputs", "3 outputs", "keys", "Sequential"} <= kinds


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_masks(keras: Any, tmp_path: Path) -> None:
    """Padding that layers heed, hand on or let fall."""
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [3, 0, 0, 0, 0]], np.int32)
    rng = np.random.default_rng(0)
    keras.backend.clear_session()
    model = masked_model(keras)
    for variable in model.weights:
        variable.assign(rng.uniform(-0.8, 0.8, variable.shape))
    theirs = answers(model, [tokens])
    assert len(theirs) == len(MODELS)
    path = tmp_path / ("masks.keras" if keras.__name__ == "keras" else "masks.h5")
    model.save(path)
    check(path, [tokens], theirs, f"{keras.__name__} masks")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_original_in_keras_and_its_taps(keras: Any, tmp_path: Path) -> None:
    """The runner answers as the evaluator does, inside the model too: second calls and second outputs included."""
    layers = keras.layers
    x = keras.Input((6, 4), name="x")
    shared = layers.Dense(4, activation="tanh", name="shared")
    both = layers.Add(name="both")([shared(x), shared(layers.ReLU(name="relu")(x))])
    states = layers.LSTM(3, return_state=True, name="lstm")(both)
    model = keras.Model(x, {"b": states[0], "a": layers.Flatten(name="flat")(both)})
    path = tmp_path / ("m.keras" if keras.__name__ == "keras" else "m.h5")
    model.save(path)
    fed = {"x": feeds(model, 3)[0]}
    theirs, ours = (SOURCE.runner(path, OpenOptions(original=kind)) for kind in ("runtime", "reference"))
    assert keras.__version__ in theirs.runtime and "reference" in ours.runtime
    assert str(theirs.signature) == str(ours.signature)
    names = ["shared", "shared#1", "relu", "both", "lstm:0", "lstm:2", "flat", "nothing"]
    for one, other in ((theirs.run(fed), ours.run(fed)), (theirs.tap(fed, names), ours.tap(fed, names))):
        assert set(one) == set(other)
        for name, array in one.items():
            np.testing.assert_allclose(array, other[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert set(ours.tap(fed, names)) == set(names) - {"nothing"}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_bfloat16_weights(keras: Any, tmp_path: Path, suffix: str) -> None:
    """Keras 3 stores them as two opaque bytes each."""
    if keras.__name__ != "keras":
        pytest.skip("of Keras 3")
    model = keras.Sequential([keras.Input((6,), dtype="float32"), keras.layers.Dense(5, dtype="bfloat16")])
    path = tmp_path / f"m{suffix}"
    model.save(path)
    x = feeds(model, 0)[0]
    (drawn,) = open_model(path, OpenOptions()).graph.graph.outputs
    assert drawn.shape is not None
    reference = SOURCE.runner(path, OpenOptions(original="reference"))
    (ours,) = reference.run({reference.signature.inputs[0].name: x}).values()
    np.testing.assert_allclose(ours.astype(np.float32), answers(model, [x])[0].astype(np.float32), atol=0.03)


def test_quantized_weights_are_declined(keras: Any, tmp_path: Path) -> None:
    if keras.__name__ != "keras":
        pytest.skip("of Keras 3")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    model.layers[0].quantize("int8")
    model.save(tmp_path / "m.keras")
    with pytest.raises(Declined, match="quantized"):
        open_model(tmp_path / "m.keras", OpenOptions())


def test_without_keras_the_evaluator_answers(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]).save(path)
    monkeypatch.setattr("bessemer.runners.keras.runtime.package_of", lambda generation: None)
    assert "reference" in SOURCE.runner(path, OpenOptions()).runtime
    with pytest.raises(MissingExtra, match="keras"):
        SOURCE.runner(path, OpenOptions(original="runtime"))
