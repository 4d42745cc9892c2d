"""Builds small models with TensorFlow and saves what it answers: `python saved_models.py FOLDER [NAME...]`.

Run in a process of its own, so that no test imports TensorFlow. Writes per case the model and case.npz: inputs as 'in:NAME',
TensorFlow's answers as 'out:NAME'; index.json says path and signature of each.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.layers.rnn import legacy_cells

v1 = tf.compat.v1
FOLDER = Path(sys.argv[1])
INDEX: dict[str, dict[str, Any]] = {}
CASES: dict[str, Callable[[str], None]] = {}
random = np.random.default_rng(7)


def case(make: Callable[[str], None]) -> Callable[[str], None]:
    CASES[make.__name__] = make
    return make


def numbers(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def keep(name: str, path: Path, inputs: dict[str, Any], outputs: dict[str, Any], signature: str | None = None) -> None:
    np.savez(FOLDER / f"{name}.npz", **{f"in:{k}": v for k, v in inputs.items()},
             **{f"out:{k}": np.asarray(v) for k, v in outputs.items()})  # fmt: skip
    INDEX[name] = {"path": str(path.relative_to(FOLDER)), "signature": signature}


def save(name: str, module: Any, inputs: dict[str, Any], signature: str | None = None, **signatures: Any) -> None:
    """A tf.Module with signatures; the answers are those of the saved model."""
    path = FOLDER / name
    tf.saved_model.save(module, str(path), signatures=signatures or module.serve)
    loaded = tf.saved_model.load(str(path))
    answer = loaded.signatures[signature or "serving_default"](**{k: tf.constant(v) for k, v in inputs.items()})
    keep(name, path, inputs, answer, signature)


def keras(name: str, model: Any, inputs: dict[str, Any]) -> None:
    """A tf_keras model as a SavedModel."""
    path = FOLDER / name
    model.save(str(path), save_format="tf")
    loaded = tf.saved_model.load(str(path))
    answer = loaded.signatures["serving_default"](**{k: tf.constant(v) for k, v in inputs.items()})
    keep(name, path, inputs, answer)


def function(name: str, inputs: dict[str, Any], *specs: tf.TensorSpec) -> Callable[[Any], None]:
    """A decorator: a plain function as a SavedModel's only signature."""

    def build(run: Any) -> None:
        module = tf.Module()
        module.serve = tf.function(run, input_signature=list(specs))
        save(name, module, inputs)

    return build


def spec(name: str, *shape: int | None, dtype: Any = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(list(shape), dtype, name=name)


def graph(name: str, draw: Any, inputs: dict[str, Any], outputs: list[str], *, freeze: bool = True) -> None:
    """A graph of the first version: frozen, or a meta graph beside its checkpoint."""
    with tf.Graph().as_default(), v1.Session() as session:
        draw()
        session.run(v1.global_variables_initializer())
        answer = session.run([f"{item}:0" for item in outputs], {f"{k}:0": v for k, v in inputs.items()})
        if freeze:
            frozen = v1.graph_util.convert_variables_to_constants(session, session.graph_def, outputs)
            path = FOLDER / f"{name}.pb"
            path.write_bytes(frozen.SerializeToString())
        else:
            prefix = v1.train.Saver().save(session, str(FOLDER / name / "model.ckpt"))
            path = Path(prefix + ".meta")
    keep(name, path, inputs, dict(zip(outputs, answer, strict=True)))


# -- SavedModels of the second version ----------------------------------------------------------------------------------


@case
def dense(name: str) -> None:
    module = tf.Module()
    module.w, module.b = tf.Variable(numbers(6, 4)), tf.Variable(numbers(4))
    module.serve = tf.function(lambda x: {"y": tf.nn.relu(x @ module.w + module.b)}, input_signature=[spec("x", None, 6)])
    save(name, module, {"x": numbers(3, 6)})


@case
def nested_calls(name: str) -> None:
    module = tf.Module()
    module.w = tf.Variable(numbers(4, 4))

    @tf.function
    def inner(x: Any) -> Any:
        return tf.tanh(x @ module.w), tf.reduce_sum(x, 1)

    @tf.function(input_signature=[spec("x", None, 4)])
    def serve(x: Any) -> Any:
        a, b = inner(x)
        c, d = inner(a * 2.0)
        return {"last": c, "first": b + d}

    module.serve = serve
    save(name, module, {"x": numbers(2, 4)})


@case
def without_signatures(name: str) -> None:
    """As TF-Hub's modules are: an object that is called."""

    class Layer(tf.Module):
        def __init__(self) -> None:
            self.w, self.names = tf.Variable(numbers(4, 3)), {"a.b/c": tf.Variable(numbers(3))}

        @tf.function(input_signature=[spec("x", None, 4), spec("k", dtype=tf.float32)])
        def __call__(self, x: Any, k: Any) -> Any:
            return {"product": x @ self.w * k, "list": [x, self.names["a.b/c"] + k]}

    module, path = Layer(), FOLDER / name
    inputs = {"x": numbers(2, 4), "k": np.float32(1.5)}
    tf.saved_model.save(module, str(path))
    answer = tf.saved_model.load(str(path))(tf.constant(inputs["x"]), tf.constant(inputs["k"]))
    keep(name, path, inputs, {"product": answer["product"], "list_0": answer["list"][0], "list_1": answer["list"][1]})


@case
def two_signatures(name: str) -> None:
    module = tf.Module()
    module.w = tf.Variable(numbers(3, 3))
    up = tf.function(lambda x: {"y": x @ module.w}, input_signature=[spec("x", 2, 3)])
    down = tf.function(lambda a, b: {"s": a - b, "p": a * b}, input_signature=[spec("a", 3), spec("b", 3)])
    save(name, module, {"a": numbers(3), "b": numbers(3)}, "down", up=up, down=down)


@case
def branch(name: str) -> None:
    @function(name, {"x": numbers(2, 3)}, spec("x", 2, 3))
    def run(x: Any) -> Any:
        return {"y": tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * 2.0, lambda: tf.exp(x) - 1.0)}


@case
def branch_taken_other_way(name: str) -> None:
    @function(name, {"x": -np.abs(numbers(2, 3))}, spec("x", 2, 3))
    def run(x: Any) -> Any:
        return {"y": tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * 2.0, lambda: tf.exp(x) - 1.0)}


@case
def switch_case(name: str) -> None:
    @function(name, {"x": numbers(3), "n": np.int32(1)}, spec("x", 3), spec("n", dtype=tf.int32))
    def run(x: Any, n: Any) -> Any:
        return {"y": tf.switch_case(n, [lambda: x + 1.0, lambda: x * 3.0])}


@case
def loop_of_known_length(name: str) -> None:
    w = tf.constant(numbers(4, 4) * 0.3)

    @function(name, {"x": numbers(2, 4)}, spec("x", 2, 4))
    def run(x: Any) -> Any:
        _, y = tf.while_loop(lambda i, y: i < 200, lambda i, y: (i + 1, tf.tanh(y @ w + x)), [tf.constant(0), x])
        return {"y": y}


@case
def loop_until_large(name: str) -> None:
    @function(name, {"x": np.abs(numbers(3)) + 0.1}, spec("x", 3))
    def run(x: Any) -> Any:
        n, y = tf.while_loop(lambda n, y: tf.reduce_sum(y) < 100.0, lambda n, y: (n + 1, y * 1.5), [tf.constant(0), x])
        return {"n": n, "y": y}


@case
def loop_collects(name: str) -> None:
    @function(name, {"x": numbers(70, 2, 3)}, spec("x", 70, 2, 3))
    def run(x: Any) -> Any:
        out = tf.TensorArray(tf.float32, 70)
        total = tf.zeros([2, 3])
        for i in tf.range(70):
            total = total * 0.5 + tf.exp(-tf.abs(x[i])) * x[i]
            out = out.write(i, total)
        return {"all": out.stack(), "last": total}


@case
def loop_unrolled(name: str) -> None:
    @function(name, {"x": numbers(3, 2)}, spec("x", 3, 2))
    def run(x: Any) -> Any:
        out = tf.TensorArray(tf.float32, 3)
        for i in tf.range(3):
            out = out.write(2 - i, x[i] * tf.cast(i, tf.float32))
        return {"y": out.stack()}


@case
def map_fn(name: str) -> None:
    @function(name, {"x": numbers(40, 5)}, spec("x", 40, 5))
    def run(x: Any) -> Any:
        return {"y": tf.map_fn(lambda row: tf.nn.softmax(row) * tf.reduce_max(row) + tf.sin(tf.cumsum(row)), x)}


@case
def unbound_batch_reshape(name: str) -> None:
    @function(name, {"x": numbers(2, 4, 6)}, spec("x", None, 4, 6))
    def run(x: Any) -> Any:
        shape = tf.shape(x)
        y = tf.reshape(x, [shape[0], shape[1], 2, 3])
        z = tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [-1, shape[1] * 3])
        return {"z": z, "ones": tf.ones([shape[0], 3]) * tf.reduce_mean(x)}


@case
def convolutions(name: str) -> None:
    k, d = tf.constant(numbers(3, 3, 3, 8)), tf.constant(numbers(3, 3, 8, 1))

    @function(name, {"image": numbers(2, 17, 18, 3)}, spec("image", None, 17, 18, 3))
    def run(image: Any) -> Any:
        x = tf.nn.relu6(tf.nn.conv2d(image, k, 2, "SAME"))
        x = tf.nn.depthwise_conv2d(x, d, [1, 1, 1, 1], "SAME")
        x = tf.image.resize(x, [12, 12])
        return {"y": tf.reduce_mean(x, [1, 2]), "map": tf.nn.max_pool2d(x, 2, 2, "VALID")}


@case
def half_and_integers(name: str) -> None:
    @function(name, {"x": numbers(2, 3).astype(np.float16), "i": np.arange(4)}, spec("x", 2, 3, dtype=tf.float16),
              spec("i", 4, dtype=tf.int64))  # fmt: skip
    def run(x: Any, i: Any) -> Any:
        return {"x": x * tf.constant(0.5, tf.float16), "i": i // 3 + tf.constant(2, tf.int64)}


@case
def sharded_variables(name: str) -> None:
    module = tf.Module()
    module.parts = [tf.Variable(numbers(3, 5)), tf.Variable(numbers(5, 2)), tf.Variable(np.float32(3.5))]
    run = tf.function(lambda x: {"y": x @ module.parts[0] @ module.parts[1] + module.parts[2]},
                      input_signature=[spec("x", 2, 3)])  # fmt: skip
    module.serve = run
    options = tf.saved_model.SaveOptions(experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(40))
    path, x = FOLDER / name, numbers(2, 3)
    tf.saved_model.save(module, str(path), signatures=run, options=options)
    keep(name, path, {"x": x}, run(tf.constant(x)))


# -- Keras ---------------------------------------------------------------------------------------------------------------


def recurrent(name: str, layer: Any, *shape: int | None) -> None:
    dims = [5 if dim is None else dim for dim in shape]
    model = tf_keras.Sequential([tf_keras.Input(shape, name="x"), layer, tf_keras.layers.Dense(3)])
    for variable in model.weights:
        variable.assign(numbers(*variable.shape) * 0.4)
    keras(name, model, {"x": numbers(2, *dims)})


LAYERS = tf_keras.layers
RECURRENT: dict[str, tuple[Callable[[], Any], tuple[int | None, ...]]] = {
    "lstm": (lambda: LAYERS.LSTM(6), (9, 4)),
    "lstm_sequences": (lambda: LAYERS.LSTM(6, return_sequences=True), (9, 4)),
    "lstm_gate_by_gate": (lambda: LAYERS.LSTM(6, implementation=1, return_sequences=True), (9, 4)),
    "lstm_backwards": (lambda: LAYERS.LSTM(6, go_backwards=True, return_sequences=True), (9, 4)),
    "lstm_masked": (lambda: tf_keras.Sequential([LAYERS.Masking(), LAYERS.LSTM(6, return_sequences=True)]), (9, 4)),
    "lstm_unbound_time": (lambda: LAYERS.LSTM(6), (None, 4)),
    "lstm_bidirectional": (lambda: LAYERS.Bidirectional(LAYERS.LSTM(5, return_sequences=True)), (9, 4)),
    "lstm_cell": (lambda: LAYERS.RNN(LAYERS.LSTMCell(6, activation="relu")), (9, 4)),
    "gru": (lambda: LAYERS.GRU(6), (9, 4)),
    "gru_sequences": (lambda: LAYERS.GRU(6, return_sequences=True), (9, 4)),
    "gru_reset_before": (lambda: LAYERS.GRU(6, reset_after=False, return_sequences=True), (9, 4)),
    "gru_unbound_time": (lambda: LAYERS.GRU(6, return_sequences=True), (None, 4)),
    "simple_rnn": (lambda: LAYERS.SimpleRNN(6, return_sequences=True), (9, 4)),
    "conv_lstm": (lambda: LAYERS.ConvLSTM2D(3, 3, padding="same"), (30, 6, 7, 2)),
    "stacked_cells": (lambda: LAYERS.RNN([LAYERS.LSTMCell(4), LAYERS.GRUCell(5)]), (30, 4)),
}
for key, (make, shape) in RECURRENT.items():
    CASES[key] = lambda name, make=make, shape=shape: recurrent(name, make(), *shape)


@case
def keras_network(name: str) -> None:
    x = tf_keras.Input((16, 16, 3), name="image")
    y = LAYERS.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = LAYERS.ReLU(6.0)(LAYERS.BatchNormalization()(y))
    z = LAYERS.Dropout(0.5)(LAYERS.SeparableConv2D(8, 3, padding="same")(y))
    y = LAYERS.Concatenate()([y, LAYERS.UpSampling2D()(LAYERS.MaxPool2D()(z))])
    out = LAYERS.Dense(5, activation="softmax", name="scores")(LAYERS.GlobalAveragePooling2D()(y))
    model = tf_keras.Model(x, [out, LAYERS.Flatten(name="flat")(z)])
    for variable in model.weights:
        variable.assign(np.abs(numbers(*variable.shape)) + 0.1)
    keras(name, model, {"image": numbers(2, 16, 16, 3)})


@case
def keras_three(name: str) -> None:
    import keras as three

    model = three.Sequential([three.Input((9, 4), name="x"), three.layers.LSTM(5, return_sequences=True),
                              three.layers.GRU(4), three.layers.LayerNormalization(), three.layers.Dense(2)])  # fmt: skip
    path, x = FOLDER / name, numbers(2, 9, 4)
    model.export(str(path), verbose=False)
    loaded = tf.saved_model.load(str(path))
    run = loaded.signatures["serving_default"]
    key = next(iter(run.structured_input_signature[1]))
    keep(name, path, {key: x}, run(**{key: tf.constant(x)}))


# -- graphs of the first version ------------------------------------------------------------------------------------------


def variable(name: str, *shape: int) -> Any:
    return v1.get_variable(name, initializer=numbers(*shape) * 0.4)


@case
def frozen_dense(name: str) -> None:
    def draw() -> None:
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        training = v1.placeholder_with_default(False, [], name="training")
        y = x @ variable("w", 6, 4)
        y = v1.cond(training, lambda: v1.nn.dropout(y, rate=0.5), lambda: tf.identity(y))
        tf.identity(tf.nn.softmax(y + variable("b", 4)), name="y")

    graph(name, draw, {"x": numbers(3, 6)}, ["y"])


@case
def frozen_cond(name: str) -> None:
    v1.disable_control_flow_v2()

    def draw() -> None:
        x = v1.placeholder(tf.float32, [2, 3], name="x")
        z = x * 3.0
        y = v1.cond(tf.reduce_sum(x) > 0.0, lambda: tf.exp(x) + z, lambda: v1.cond(
            tf.reduce_max(x) > 5.0, lambda: z, lambda: tf.zeros([2, 3]) - x))  # fmt: skip
        tf.identity(y, name="y")

    graph(name, draw, {"x": -np.abs(numbers(2, 3))}, ["y"])
    v1.enable_control_flow_v2()


@case
def frozen_while(name: str) -> None:
    v1.disable_control_flow_v2()

    def draw() -> None:
        x = v1.placeholder(tf.float32, [3], name="x")
        k = tf.reduce_sum(tf.abs(x)) + 1.0

        def body(i: Any, y: Any) -> Any:
            _, inner = v1.while_loop(lambda j, t: j < 3, lambda j, t: (j + 1, t * 1.1 + k), [tf.constant(0), y])
            return i + 1, inner + 2.0

        n, y = v1.while_loop(lambda i, y: tf.reduce_max(y) < 50.0 + k * 0.0, body, [tf.constant(0), x])
        tf.identity(y, name="y"), tf.identity(n, name="n")

    graph(name, draw, {"x": np.abs(numbers(3))}, ["y", "n"])
    v1.enable_control_flow_v2()


def rnn_graph(name: str, cell: Callable[[], Any], *, freeze: bool = True, two: bool = False) -> None:
    v1.disable_control_flow_v2()

    def draw() -> None:
        x = v1.placeholder(tf.float32, [2, 8, 4], name="x")
        out, _ = v1.nn.dynamic_rnn(cell(), x, dtype=tf.float32)
        for held in v1.trainable_variables():
            v1.get_default_session().run(held.initializer)
        tf.identity(out[:, -1] @ variable("w", 5, 3), name="y")
        if two:
            tf.identity(out, name="all")

    graph(name, draw, {"x": numbers(2, 8, 4)}, ["y", "all"] if two else ["y"], freeze=freeze)
    v1.enable_control_flow_v2()


CASES["frozen_lstm"] = lambda name: rnn_graph(name, lambda: tf_keras.layers.LSTMCell(5), two=True)
CASES["frozen_basic_lstm"] = lambda name: rnn_graph(name, lambda: legacy_cells.BasicLSTMCell(5))
CASES["frozen_gru"] = lambda name: rnn_graph(name, lambda: legacy_cells.GRUCell(5), two=True)
CASES["checkpoint_gru"] = lambda name: rnn_graph(name, lambda: legacy_cells.GRUCell(5), freeze=False)


@case
def checkpoint_partitioned(name: str) -> None:
    def draw() -> None:
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        with v1.variable_scope("s", partitioner=v1.fixed_size_partitioner(3)):
            w = v1.get_variable("w", [6, 4], initializer=v1.random_normal_initializer(seed=3), use_resource=False)
        tf.nn.relu(x @ tf.convert_to_tensor(w) + variable("b", 4), name="y")

    graph(name, draw, {"x": numbers(3, 6)}, ["y"], freeze=False)


@case
def checkpoint_of_version_one(name: str) -> None:
    """Values in the table itself, compressed, a variable in parts."""
    x = numbers(3, 6)
    with tf.Graph().as_default(), v1.Session() as session:
        held = v1.placeholder(tf.float32, [None, 6], name="x")
        with v1.variable_scope("s", partitioner=v1.fixed_size_partitioner(2)):
            w = v1.get_variable("w", [6, 400], initializer=v1.random_normal_initializer(seed=3), use_resource=False)
        b = v1.get_variable("b", initializer=np.repeat(numbers(4), 100), use_resource=False)
        tf.nn.relu(held @ tf.convert_to_tensor(w) + b, name="y")
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        (FOLDER / name).mkdir()
        path = Path(saver.save(session, str(FOLDER / name / "model.ckpt")) + ".meta")
        keep(name, path, {"x": x}, {"y": session.run("y:0", {"x:0": x})})


@case
def saved_model_of_version_one(name: str) -> None:
    path, x = FOLDER / name, numbers(3, 6)
    with tf.Graph().as_default(), v1.Session() as session:
        held = v1.placeholder(tf.float32, [None, 6], name="held")
        y = tf.sigmoid(held @ variable("w", 6, 4))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(path), {"x": held}, {"y": y})
        keep(name, path, {"x": x}, {"y": session.run(y, {held: x})})


@case
def stateful(name: str) -> None:
    """A counter, which no graph without state can mean."""
    module = tf.Module()
    module.count = tf.Variable(1.0)

    @tf.function(input_signature=[spec("x", 3)])
    def serve(x: Any) -> Any:
        module.count.assign_add(1.0)
        return {"y": x * module.count}

    module.serve = serve
    save(name, module, {"x": numbers(3)})


@case
def many_missing(name: str) -> None:
    """Operators without a meaning in the hub, several of them."""
    @function(name, {"x": numbers(3)}, spec("x", 3))
    def run(x: Any) -> Any:
        words = tf.strings.as_string(x)
        return {"n": tf.strings.length(words), "r": x + tf.random.normal([3]), "y": tf.linalg.inv(tf.linalg.diag(x + 9.0))}


@case
def tensor_protos(name: str) -> None:
    """Every encoding of constants: lists, packed bytes, repeated last values, strings."""
    import ml_dtypes

    types = [np.float32, np.float64, np.int32, np.uint8, np.int16, np.int8, np.int64, np.bool_, np.uint16, np.uint32,
             np.uint64, np.float16, ml_dtypes.bfloat16, np.complex64, np.complex128,
             ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn]
    held: list[tuple[bytes, Any]] = []
    for kind in types:
        for shape in ((), (1,), (5,), (2, 3), (0, 2)):
            array = (random.integers(0, 2, shape) * 3 - (np.dtype(kind).kind not in "ub")).astype(kind)
            made = (tf.make_tensor_proto(array), v1.make_tensor_proto(array.tolist(), kind, shape))
            held += [(item.SerializeToString(), np.asarray(tf.make_ndarray(item))) for item in made]
        splat = tf.make_tensor_proto(np.ones(1, kind), shape=[1])
        splat.tensor_shape.dim[0].size = 7
        held.append((splat.SerializeToString(), np.asarray(tf.make_ndarray(splat))))
    words = tf.make_tensor_proto([[b"a", b""], [b"\xff\x00", "\u00e9".encode()]])
    held.append((words.SerializeToString(), np.asarray(tf.make_ndarray(words))))
    protos = np.empty(len(held), object)
    arrays = np.empty(len(held), object)
    for number, (proto, array) in enumerate(held):
        protos[number], arrays[number] = proto, (array.dtype.name, array.shape, array.tobytes() if array.dtype != object
                                                 else array.tolist())  # fmt: skip
    np.savez(FOLDER / "tensors.npz", protos=protos, arrays=arrays)


@case
def bundles(name: str) -> None:
    """Checkpoints with all types, strings, many keys (several blocks of the index) and parts."""
    held = {f"key/{number:04d}/{'x' * (number % 40)}": numbers(number % 5, 3) for number in range(900)}
    held |= {"half": numbers(4).astype(np.float16), "ints": np.arange(9).reshape(3, 3), "flags": np.array([True, False])}
    held["words"] = np.array([[b"", b"abc"], [b"\x00\xff" * 200, b"z"]], object)
    prefix = str(FOLDER / "bundle" / "values")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=list(held), shape_and_slices=[""] * len(held),
                      tensors=[tf.constant(value) for value in held.values()])  # fmt: skip
    whole = numbers(300, 4)
    cuts = ["300 4 0,100:-", "300 4 100,150:-", "300 4 250,50:-"]
    tf.raw_ops.SaveV2(prefix=prefix + "-parts", tensor_names=["odd\x01name"] * 3, shape_and_slices=cuts,
                      tensors=[whole[:100], whole[100:250], whole[250:]])  # fmt: skip
    np.savez(FOLDER / "bundle.npz", whole=whole, **{f"k:{k}": v for k, v in held.items()})


for chosen in sys.argv[2:] or list(CASES):
    try:
        CASES[chosen](chosen)
    except (AttributeError, ImportError) as error:  # what this release of TensorFlow no longer has
        print(f"{chosen}: {error}", file=sys.stderr)
(FOLDER / "index.json").write_text(json.dumps(INDEX))
