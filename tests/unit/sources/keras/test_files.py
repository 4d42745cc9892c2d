"""Files as older Kerases wrote them (built here by hand), files without a model, and everything a model is declined for."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.errors import Declined, UnreadableInput, UsageError
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.runners.graph import GraphRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.keras import SOURCE

h5py = pytest.importorskip("h5py")
Weights = dict[str, list[np.ndarray]]
RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def h5(path: Path, config: Any, weights: Weights, version: str = "1.2.2", backend: str = "", split: bool = False) -> Path:
    """A legacy file. split: lists of names are cut in two, as Keras does with long ones."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = np.bytes_(json.dumps(config))
        file.attrs["keras_version"] = np.bytes_(version)
        if backend:
            file.attrs["backend"] = np.bytes_(backend)
        group = file.create_group("model_weights")
        _list(group, "layer_names", list(weights), split)
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            names = [f"{layer}_{number}" for number in range(len(arrays))]
            _list(inner, "weight_names", names, split)
            for name, array in zip(names, arrays, strict=True):
                inner[name] = array
    return path


def _list(group: Any, name: str, items: list[str], split: bool) -> None:
    if not split:
        group.attrs[name] = np.array(items, "S")
        return
    half = (len(items) + 1) // 2
    group.attrs[f"{name}0"], group.attrs[f"{name}1"] = np.array(items[:half], "S"), np.array(items[half:], "S")


def layer(kind: str, name: str, *reads: str, **config: Any) -> dict[str, Any]:
    """A layer of a functional model."""
    nodes = [[[item, 0, 0] for item in reads]] if reads else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def functional(*layers: dict[str, Any], output: str) -> dict[str, Any]:
    inputs = [[item["name"], 0, 0] for item in layers if item["class_name"] == "InputLayer"]
    config = {"name": "m", "layers": list(layers), "input_layers": inputs, "output_layers": [[output, 0, 0]]}
    return {"class_name": "Model", "config": config}


def answers(path: Path, **inputs: np.ndarray) -> np.ndarray:
    """What graph and evaluator agree on."""
    reference = SOURCE.runner(path, OpenOptions(original="reference"))
    (evaluated,) = reference.run(inputs).values()
    model = open_model(path, OpenOptions())
    normalise(model, ConvertOptions(level=0))
    (drawn,) = GraphRunner(model.graph).run(inputs).values()
    np.testing.assert_allclose(evaluated, drawn, rtol=1e-4, atol=1e-5)
    return drawn


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A valid convolution, (rows, columns, in, out)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias


def test_keras_1_convolutions_and_names(tmp_path: Path) -> None:
    kernel, bias, dense, out = noise(3, 2, 2, 4), noise(4), noise(4, 3), noise(3)
    config = functional(
        layer("InputLayer", "x", batch_input_shape=[None, 6, 5, 2], input_dtype="float32"),
        layer("Convolution2D", "c", "x", nb_filter=4, nb_row=3, nb_col=2, border_mode="valid", subsample=[1, 1],
              dim_ordering="tf", bias=True, activation="relu"),
        layer("GlobalMaxPooling2D", "g", "c", dim_ordering="tf"),
        layer("Dropout", "d", "g", p=0.5),
        layer("Dense", "y", "d", output_dim=3, bias=True, activation="linear"),
        output="y",
    )  # fmt: skip
    x = noise(2, 6, 5, 2)
    path = h5(tmp_path / "m.h5", config, {"x": [], "c": [kernel, bias], "y": [dense, out]}, split=True)
    wanted = np.maximum(convolved(x, kernel, bias), 0).max((1, 2)) @ dense + out
    np.testing.assert_allclose(answers(path, x=x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_keras_1_channels_first(tmp_path: Path, backend: str) -> None:
    """Kernels are stored (out, in, rows, columns); Theano convolves where others correlate."""
    kernel, bias = noise(3, 3, 2, 4), noise(4)
    config = functional(
        layer("InputLayer", "x", batch_input_shape=[None, 2, 6, 5]),
        layer("Convolution2D", "y", "x", nb_filter=4, nb_row=3, nb_col=3, border_mode="valid", dim_ordering="th"),
        output="y",
    )  # fmt: skip
    stored = (kernel[::-1, ::-1] if backend == "theano" else kernel).transpose(3, 2, 0, 1)
    path = h5(tmp_path / "m.h5", config, {"y": [stored, bias]}, backend=backend)
    x = noise(2, 2, 6, 5)
    wanted = convolved(x.transpose(0, 2, 3, 1), kernel, bias).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(answers(path, x=x), wanted, rtol=1e-4, atol=1e-5)


def test_keras_1_lstm_with_a_weight_per_gate(tmp_path: Path) -> None:
    names = "icfo"
    gates = {name: (noise(3, 4), noise(4, 4), noise(4)) for name in names}
    config = [
        {"class_name": "LSTM", "config": {"name": "lstm", "batch_input_shape": [None, 5, 3], "output_dim": 4,
         "inner_activation": "sigmoid", "activation": "tanh", "return_sequences": False, "go_backwards": False}},
    ]  # fmt: skip
    arrays = [array for name in names for array in gates[name]]
    path = h5(tmp_path / "m.h5", {"class_name": "Sequential", "config": config}, {"lstm": arrays})
    x = noise(2, 5, 3)
    hidden = state = np.zeros((2, 4), np.float32)
    for step in range(5):
        i, c, f, o = (x[:, step] @ gates[n][0] + hidden @ gates[n][1] + gates[n][2] for n in names)
        state = state / (1 + np.exp(-f)) + np.tanh(c) / (1 + np.exp(-i))
        hidden = np.tanh(state) / (1 + np.exp(-o))
    np.testing.assert_allclose(answers(path, lstm_input=x), hidden, rtol=1e-4, atol=1e-5)


def test_keras_1_merge(tmp_path: Path) -> None:
    config = functional(
        layer("InputLayer", "a", batch_input_shape=[None, 3]), layer("InputLayer", "b", batch_input_shape=[None, 3]),
        layer("Merge", "s", "a", "b", mode="mul"), layer("Merge", "y", "s", "b", mode="concat", concat_axis=-1), output="y",
    )  # fmt: skip
    a, b = noise(2, 3), noise(2, 3)
    path = h5(tmp_path / "m.h5", config, {})
    np.testing.assert_allclose(answers(path, a=a, b=b), np.concatenate([a * b, b], -1), rtol=1e-6)


def test_a_sequential_model_of_unknown_shape(tmp_path: Path) -> None:
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "linear", "use_bias": True}}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [dense]}}
    kernel, bias = noise(3, 2), noise(2)
    path = h5(tmp_path / "m.h5", config, {"d": [kernel, bias]}, "2.4.0")
    with pytest.raises(UsageError, match="--shape d_input="):
        open_model(path, OpenOptions())
    model = open_model(path, OpenOptions(shapes={"d_input": (4, 3)}))
    assert str(model.signature.inputs[0]) == "d_input: float32[4, 3]"
    x = noise(4, 3)
    runner = SOURCE.runner(path, OpenOptions(shapes={"d_input": (4, 3)}, original="reference"))
    np.testing.assert_allclose(runner.run({"d_input": x})["d"], x @ kernel + bias, rtol=1e-5)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = np.array(["dense"], "S")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["data"] = noise(4)
    for name, words in {"w.h5": "weights of a Keras model", "d.h5": "without a Keras model"}.items():
        with pytest.raises(UnreadableInput, match=words) as error:
            open_model(tmp_path / name, OpenOptions())
        assert "model.save" in str(error.value)


def test_all_blockers_come_at_once(tmp_path: Path) -> None:
    """Python code and classes of the user's own; layers behind them are judged, too."""
    config = functional(
        layer("InputLayer", "x", batch_input_shape=[None, 3]),
        layer("Lambda", "code", "x", function=["4wEAAAA=", None, None], function_type="lambda"),
        layer("Mine", "mine", "code"), layer("Dense", "d", "mine", units=2), layer("Yours", "yours", "d"), output="yours",
    )  # fmt: skip
    path = h5(tmp_path / "m.h5", config, {"d": [noise(3, 2), noise(2)]}, "2.4.0")
    with pytest.raises(Declined) as error:
        open_model(path, OpenOptions())
    assert [(item.node, item.op) for item in error.value.blockers] == [
        ("code", "Lambda"), ("mine", "Mine"), ("yours", "Yours")
    ]  # fmt: skip


def test_a_model_of_a_class_is_declined(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("vars")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "mine", "class_name": "Mine", "config": {"size": 3}}))
        archive.writestr("metadata.json", '{"keras_version": "3.5.0"}')
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    with pytest.raises(Declined, match="class Mine, whose computation stands in Python"):
        open_model(path, OpenOptions())


@pytest.mark.parametrize(
    ("kind", "shape", "config", "shapes"),
    [
        ("Dense", [3], {"units": 2}, []), ("Dense", [3], {"units": 2}, [(3, 2)]),
        ("Dense", [3], {"units": 2}, [(4, 2), (2,)]), ("Dense", [3], {"units": 2}, [(3, 2), (1,)]),
        ("Conv2D", [8, 8, 3], {"filters": 2, "kernel_size": [3, 3]}, [(3, 3, 5, 2), (2,)]),
        ("Conv2D", [8, 8, 3], {"filters": 2, "kernel_size": [3, 3]}, [(3, 3, 3, 2), (1,)]),
        ("BatchNormalization", [8, 3], {}, [(3,), (3,), (3,), (1,)]), ("BatchNormalization", [8, 3], {}, [(3,)] * 3),
        ("LSTM", [8, 3], {"units": 2}, [(3, 8), (3, 8), (8,)]), ("GRU", [8, 3], {"units": 2}, [(3, 6), (2, 6)]),
        ("Embedding", [8], {"input_dim": 4, "output_dim": 2}, [(3,)]),
        ("SeparableConv1D", [8, 3], {"filters": 2, "kernel_size": 3}, [(3, 3, 1), (1, 4, 2), (2,)]),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_their_layer(
    tmp_path: Path, kind: str, shape: list[int], config: dict[str, Any], shapes: list[tuple[int, ...]]
) -> None:
    whole = functional(
        layer("InputLayer", "x", batch_input_shape=[None, *shape]), layer(kind, "d", "x", **config), output="d"
    )
    path = h5(tmp_path / "m.h5", whole, {"d": [noise(*item) for item in shapes]}, "2.4.0")
    with pytest.raises(UnreadableInput, match="layer 'd'"):
        open_model(path, OpenOptions())


def test_the_tensor_names_are_those_that_a_tap_answers(tmp_path: Path) -> None:
    config = functional(
        layer("InputLayer", "x", batch_input_shape=[None, 4, 4, 1]),
        layer("Conv2D", "c", "x", filters=2, kernel_size=[3, 3], padding="same", activation="relu"),
        layer("Flatten", "f", "c"), layer("Dense", "d", "f", units=2), output="d",
    )  # fmt: skip
    path = h5(tmp_path / "m.h5", config, {"c": [noise(3, 3, 1, 2), noise(2)], "d": [noise(32, 2), noise(2)]}, "2.4.0")
    model = open_model(path, OpenOptions())
    names = [value.meta["bessemer.tensor"][0] for node in model.graph.graph for value in node.outputs
             if "bessemer.tensor" in value.meta]  # fmt: skip
    assert {"c", "f", "d"} <= set(names)
    tapped = SOURCE.runner(path, OpenOptions(original="reference")).tap({"x": noise(2, 4, 4, 1)}, ["c", "f", "none"])
    assert {name: array.shape for name, array in tapped.items()} == {"c": (2, 4, 4, 2), "f": (2, 32)}


def test_what_does_not_depend_on_an_unknown_layer_is_cut_out(tmp_path: Path) -> None:
    """A layer of the user's own class: the rest is suggested, converts, and is verified on what the evaluator taps."""
    import bessemer as bm
    from bessemer.ir.unread import Unread

    config = functional(
        layer("InputLayer", "x", batch_input_shape=[None, 6, 5, 2]),
        layer("Convolution2D", "c", "x", nb_filter=4, nb_row=3, nb_col=3, border_mode="valid", dim_ordering="tf"),
        layer("OwnClass", "own", "c"),
        layer("Flatten", "f", "own"), output="f",
    )  # fmt: skip
    config["config"]["output_layers"].append(["g", 0, 0])
    config["config"]["layers"].append(layer("GlobalMaxPooling2D", "g", "c", dim_ordering="tf"))
    path = h5(tmp_path / "m.h5", config, {"c": [noise(3, 3, 2, 4), noise(4)]})
    with pytest.raises(Unread, match="OwnClass"):
        open_model(path, OpenOptions())
    (row,) = bm.convert(path, "ort", tmp_path / "out").targets
    (cut,) = row.suggestions
    assert set(cut.outputs) == {"c", "g"}
    (made,) = bm.convert(path, "ort", tmp_path / "out", outputs=cut.outputs, original="reference").targets
    assert made.verified, made.summary
    assert "reference evaluator" in made.reference
    with pytest.raises(Declined, match="OwnClass"):
        open_model(path, OpenOptions(outputs=("f",)))
