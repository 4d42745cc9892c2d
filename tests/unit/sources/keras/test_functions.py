"""Functions called as layers (Keras 3's operations, TensorFlow's in tf.keras): drawn and evaluated, as Keras answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.keras.layer_cases import close

from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.runners.graph import GraphRunner
from bessemer.sources.base import OpenOptions
from bessemer.sources.keras import SOURCE

Expression = Callable[[Any, Any, Any, Any], Any]
"""(the library, x (batch, 4, 6), y of the same, an image (batch, 6, 5, 3)) -> a tensor, or several."""

OPERATIONS: dict[str, Expression] = {
    "numbers": lambda o, x, y, i: 2.0 - (x + 2.0) * y / 3.0,
    "subtract": lambda o, x, y, i: o.subtract(x, y),
    "divide": lambda o, x, y, i: o.divide(x, o.abs(y) + 1.0),
    "power": lambda o, x, y, i: x**2,
    "maximum": lambda o, x, y, i: o.maximum(x, 0.5) - o.minimum(x, y),
    "floor_divide": lambda o, x, y, i: x // 0.7,
    "negative": lambda o, x, y, i: -o.square(x),
    "exp": lambda o, x, y, i: o.exp(x) + o.log(o.abs(x) + 1.0) + o.sqrt(o.abs(x)) + o.rsqrt(o.abs(x) + 1.0),
    "sines": lambda o, x, y, i: o.sin(x) + o.cos(x) + o.tanh(x) + o.arctan(x) + o.sinh(x) + o.cosh(x),
    "rounding": lambda o, x, y, i: o.floor(x) + o.ceil(y) + o.sign(x) + o.round(x * 3.0),
    "erf": lambda o, x, y, i: o.erf(x),
    "sigmoid": lambda o, x, y, i: o.sigmoid(x),
    "relu": lambda o, x, y, i: o.relu(x) + o.relu6(x * 5.0) + o.leaky_relu(y, negative_slope=0.1),
    "silu": lambda o, x, y, i: o.silu(x) + o.gelu(x, approximate=True) + o.gelu(y, approximate=False),
    "softmax": lambda o, x, y, i: o.softmax(x, axis=1) + o.log_softmax(x, axis=-1),
    "softplus": lambda o, x, y, i: o.softplus(x) + o.softsign(y) + o.elu(x, alpha=0.5) + o.selu(y) + o.celu(x),
    "hard": lambda o, x, y, i: o.hard_sigmoid(x) + o.hard_silu(y) + o.hard_tanh(x) + o.hard_shrink(x, threshold=0.3),
    "shrink": lambda o, x, y, i: o.soft_shrink(x, threshold=0.3) + o.tanh_shrink(y) + o.log_sigmoid(x),
    "sparse": lambda o, x, y, i: o.squareplus(x, b=2) + o.sparse_plus(y) + o.sparse_sigmoid(x),
    "glu": lambda o, x, y, i: o.glu(x, axis=-1),
    "mean": lambda o, x, y, i: o.mean(x, axis=[1], keepdims=True) + o.sum(y, axis=-1, keepdims=True),
    "max": lambda o, x, y, i: o.max(x, axis=1) + o.min(x, axis=1) + o.prod(x, axis=1) + o.var(x, axis=1),
    "logsumexp": lambda o, x, y, i: o.logsumexp(x, axis=-1),
    "argmax": lambda o, x, y, i: o.argmax(x, axis=-1) + o.argmin(y, axis=-1),
    "matmul": lambda o, x, y, i: o.matmul(x, o.transpose(y, (0, 2, 1))),
    "einsum": lambda o, x, y, i: o.einsum("bij,bkj->bik", x, y),
    "reshape": lambda o, x, y, i: o.reshape(x, (-1, 24)),
    "reshape3": lambda o, x, y, i: o.reshape(x, (-1, 2, 12)),
    "swapaxes": lambda o, x, y, i: o.swapaxes(x, 1, 2) + o.moveaxis(y, 1, 2),
    "expand": lambda o, x, y, i: o.squeeze(o.expand_dims(x, 1), 1),
    "concatenate": lambda o, x, y, i: o.concatenate([x, y, x], axis=1),
    "stack": lambda o, x, y, i: o.stack([x, y], axis=-1),
    "split": lambda o, x, y, i: o.split(x, 2, axis=-1),
    "split_at": lambda o, x, y, i: o.split(x, [1, 3], axis=-1),
    "unstack": lambda o, x, y, i: o.unstack(x, 4, axis=1),
    "pad": lambda o, x, y, i: o.pad(i, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="reflect"),
    "pad_constant": lambda o, x, y, i: o.pad(i, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=0.5),
    "pad_symmetric": lambda o, x, y, i: o.pad(i, ((0, 0), (2, 2), (1, 0), (0, 0)), mode="symmetric"),
    "tile": lambda o, x, y, i: o.tile(x, (1, 2, 3)),
    "repeat": lambda o, x, y, i: o.repeat(x, 2, axis=1),
    "take": lambda o, x, y, i: o.take(x, [2, 0], axis=1),
    "flip": lambda o, x, y, i: o.flip(x, axis=1),
    "clip": lambda o, x, y, i: o.clip(x, -0.5, 0.5),
    "cast": lambda o, x, y, i: o.cast(o.cast(x * 3.0, "int32"), "float32"),
    "where": lambda o, x, y, i: o.where(o.greater(x, 0.1), x, y),
    "compare": lambda o, x, y, i: o.cast(
        o.logical_and(o.less(x, y), o.logical_not(o.logical_or(o.equal(x, y), o.greater_equal(x, 1.0)))), "float32"
    ),
    "compare_more": lambda o, x, y, i: o.cast(o.less_equal(x, y), "float32") + o.cast(o.not_equal(x, y), "float32"),
    "getitem": lambda o, x, y, i: x[:, 1:, ::2],
    "getitem_number": lambda o, x, y, i: x[:, -1],
    "getitem_ellipsis": lambda o, x, y, i: i[..., 0],
    "getitem_new": lambda o, x, y, i: x[:, None, 1:3, ..., -2],
    "resize": lambda o, x, y, i: o.image.resize(i, (9, 4)) + o.image.resize(i, (9, 4), interpolation="nearest"),
    "zeros_like": lambda o, x, y, i: o.zeros_like(x) + o.ones_like(y),
    "any": lambda o, x, y, i: o.cast(o.any(x > 1.0, axis=-1), "float32") + o.cast(o.all(x > -1.0, axis=-1), "float32"),
}  # fmt: skip

TENSORFLOW: dict[str, Expression] = {
    "numbers": lambda t, x, y, i: 2.0 - (x + 2.0) * y / 3.0,
    "add": lambda t, x, y, i: t.add(x, y) + t.math.subtract(x, 1.0) + t.multiply(2.0, y) + t.divide(x, 4.0),
    "power": lambda t, x, y, i: x**2 + t.square(y) + t.math.squared_difference(x, y),
    "maximum": lambda t, x, y, i: t.maximum(x, 0.5) + t.minimum(x, y),
    "exp": lambda t, x, y, i: t.exp(x) + t.math.log(t.abs(x) + 1.0) + t.sqrt(t.abs(x)) + t.math.rsqrt(t.abs(x) + 1.0),
    "sines": lambda t, x, y, i: t.sin(x) + t.cos(x) + t.tanh(x) + t.floor(y) + t.round(x) + t.sign(x) - t.negative(x),
    "relu": lambda t, x, y, i: t.nn.relu(x) + t.nn.relu6(x * 5.0) + t.nn.leaky_relu(y, alpha=0.1) + t.nn.elu(x),
    "sigmoid": lambda t, x, y, i: t.sigmoid(x) + t.nn.sigmoid(y) + t.nn.softplus(x) + t.nn.softsign(x) + t.nn.selu(y),
    "swish": lambda t, x, y, i: t.nn.silu(x) + t.nn.gelu(y),
    "softmax": lambda t, x, y, i: t.nn.softmax(x, axis=1) + t.nn.log_softmax(x),
    "reduce": lambda t, x, y, i: t.reduce_mean(x, axis=[1], keepdims=True) + t.reduce_sum(x, axis=-1, keepdims=True),
    "reduce_max": lambda t, x, y, i: t.reduce_max(x, axis=1) + t.reduce_min(x, axis=1) + t.reduce_prod(x, 1),
    "image_mean": lambda t, x, y, i: t.reduce_mean(i, [1, 2]),
    "argmax": lambda t, x, y, i: t.argmax(x, axis=-1),
    "matmul": lambda t, x, y, i: t.matmul(x, y, transpose_b=True),
    "reshape": lambda t, x, y, i: t.reshape(x, (-1, 24)),
    "reshape_computed": lambda t, x, y, i: t.reshape(x, (t.shape(x)[0], 2, 12)),
    "transpose": lambda t, x, y, i: t.transpose(x, (0, 2, 1)),
    "expand": lambda t, x, y, i: t.squeeze(t.expand_dims(x, 1), 1),
    "concat": lambda t, x, y, i: t.concat([x, y], axis=-1),
    "stack": lambda t, x, y, i: t.stack([x, y], axis=1),
    "split": lambda t, x, y, i: t.split(x, 2, axis=-1),
    "split_sizes": lambda t, x, y, i: t.split(x, [1, 3], axis=1),
    "unstack": lambda t, x, y, i: t.unstack(x, axis=1),
    "pad": lambda t, x, y, i: t.pad(i, [[0, 0], [1, 2], [0, 1], [0, 0]], mode="REFLECT"),
    "pad_constant": lambda t, x, y, i: t.pad(i, [[0, 0], [1, 2], [0, 1], [0, 0]], constant_values=0.5),
    "tile": lambda t, x, y, i: t.tile(x, [1, 2, 1]),
    "repeat": lambda t, x, y, i: t.repeat(x, 2, axis=1),
    "gather": lambda t, x, y, i: t.gather(x, [2, 0], axis=1),
    "clip": lambda t, x, y, i: t.clip_by_value(x, -0.5, 0.5),
    "cast": lambda t, x, y, i: t.cast(t.cast(x * 3.0, t.int32), t.float32),
    "where": lambda t, x, y, i: t.where(t.greater(x, 0.1), x, y),
    "compare": lambda t, x, y, i: t.cast(t.logical_and(x < y, t.logical_not(x >= 1.0)), t.float32),
    "getitem": lambda t, x, y, i: x[:, 1:, ::2],
    "getitem_number": lambda t, x, y, i: x[:, -1],
    "getitem_new": lambda t, x, y, i: x[:, t.newaxis, 1:3],
    "resize": lambda t, x, y, i: t.image.resize(i, (9, 4)) + t.image.resize(i, (9, 4), method="nearest"),
    "normalize": lambda t, x, y, i: t.math.l2_normalize(x, axis=-1),
    "zeros_like": lambda t, x, y, i: t.zeros_like(x) + t.ones_like(y),
    "any": lambda t, x, y, i: t.cast(t.reduce_any(x > 1.0, axis=-1), t.float32),
    "all": lambda t, x, y, i: t.cast(t.reduce_all(x > -1.0, axis=[-1], keepdims=True), t.float32),
    "add_n": lambda t, x, y, i: t.add_n([x, y, x]),
}  # fmt: skip


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    """Keras 3 on TensorFlow, and tf_keras."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        pytest.importorskip("tensorflow")
        return pytest.importorskip(request.param)


def test_functions(keras: Any, tmp_path: Path) -> None:
    import tensorflow

    third = keras.__name__ == "keras"
    library, table = (keras.ops, OPERATIONS) if third else (tensorflow, TENSORFLOW)
    rng, wrong = np.random.default_rng(0), []
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 4, 6), (2, 4, 6), (2, 6, 5, 3))]
    for name, expression in table.items():
        tensors = [keras.Input(array.shape[1:], name=f"in{place}") for place, array in enumerate(arrays)]
        made = expression(library, *tensors)
        anchor = keras.layers.Concatenate()([keras.layers.Flatten()(tensor) for tensor in tensors])
        outputs = [*(made if isinstance(made, list | tuple) else [made]), anchor]
        model = keras.Model(tensors, outputs)
        wanted = [np.asarray(item) for item in model(arrays)]
        path = tmp_path / f"{name}.keras"
        model.save(path)
        wrong += [f"{name} {what}: {error}" for what, error in _compared(path, arrays, wanted) if error]
    assert not wrong


def _compared(path: Path, arrays: list[np.ndarray], wanted: list[np.ndarray]) -> list[tuple[str, str]]:
    model = open_model(path, OpenOptions())
    fed = dict(zip([spec.name for spec in model.signature.inputs], arrays, strict=True))
    evaluated = SOURCE.runner(path, OpenOptions(original="reference")).run(fed)
    normalise(model, ConvertOptions(level=0))
    drawn = GraphRunner(model.graph).run(fed)
    return [("evaluated", close(list(evaluated.values()), wanted)), ("drawn", close(list(drawn.values()), wanted))]


def _node_def(op: str, **attributes: Any) -> str:
    return json.dumps({"name": op, "op": op, "input": [], "attr": attributes})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"node_def": _node_def("AddV2"), "constants": {"1": 2.0}}, lambda x: x + 2),
        ({"node_def": _node_def("Sub"), "constants": {"0": 2.0}}, lambda x: 2 - x),
        ({"node_def": _node_def("RealDiv"), "constants": {"1": 4.0}}, lambda x: x / 4),
        ({"node_def": _node_def("Mean", keep_dims={"b": True}), "constants": {"1": [1]}}, lambda x: x.mean(1)[:, None]),
        ({"node_def": _node_def("Reshape"), "constants": {"1": [-1, 24]}}, lambda x: x.reshape(-1, 24)),
        ({"node_def": _node_def("ConcatV2"), "constants": {"1": -1}}, lambda x: x),
        ({"node_def": _node_def("Relu6"), "constants": {}}, lambda x: np.clip(x, 0, 6)),
        ({"node_def": _node_def("Transpose"), "constants": {"1": [0, 2, 1]}}, lambda x: x.transpose(0, 2, 1)),
    ],
)
def test_node_defs(config: dict[str, Any], expected: Callable[[np.ndarray], np.ndarray]) -> None:
    """What tf.keras before 2.4 saved for a TensorFlow operator among layers."""
    from tests.unit.sources.keras.layer_cases import Case, drawn, evaluated, in_onnxruntime

    class TensorFlowOpLayer(SimpleNamespace):
        """What a case asks of a layer."""

        def get_config(self) -> dict[str, Any]:
            return config

    x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32) * 5
    case, layer = Case("TensorFlowOpLayer", {}, [x], generation=2), TensorFlowOpLayer(name="node", weights=[])
    model, fed = drawn(layer, case)
    assert close(in_onnxruntime(model, fed), [expected(x)]) == ""
    assert close(evaluated(layer, case), [expected(x)]) == ""
