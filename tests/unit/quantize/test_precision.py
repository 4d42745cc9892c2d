"""Overrides of single layers: what is marked, where 8 and 16 bits meet, and what the runtimes make of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.passes.qdq import KERNELS_KEY
from bessemer.quantize.judge import emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.precision import LayerPrecision
from bessemer.quantize.stage import Quantized, quantize
from bessemer.runners.graph import GraphRunner
from bessemer.targets.base import Prepared
from bessemer.targets.ort.target import TARGET as ORT
from bessemer.targets.ort.target import OrtOptions
from bessemer.targets.tflite.options import TFLiteOptions
from bessemer.targets.tflite.target import TARGET as TFLITE

from .nets import conv_net, images, model_of

CHAIN = """
net (float[1,4,8,8] x) => (float[1,4,4,4] y) {
  a = Conv(x, w1)
  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
  y = Conv(p, w2)
}
"""


def made(model: Model, *overrides: str, **options: Any) -> tuple[Model, Quantized]:
    layers = tuple(LayerPrecision.parse(text) for text in overrides)
    how = Quantize(method="minmax", level=-100, layers=layers, **options)
    shape = [int(size) for size in model.graph.graph.inputs[0].shape or ()]
    samples = [{"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)} for seed in range(16)]
    return quantize(model, how, samples)


def chain() -> Model:
    rng = np.random.default_rng(0)
    return model_of(CHAIN, {name: rng.standard_normal((4, 4, 1, 1)).astype(np.float32) for name in ("w1", "w2")})


def activations(model: Model) -> dict[str, str]:
    held = {value.name: encoding_of(value) for node in model.graph.graph for value in node.outputs}
    return {name or "": encoding.dtype for name, encoding in held.items() if encoding is not None}


@pytest.mark.parametrize(
    "text", ["conv1=a8_w4", "*=w4", "block*/conv=a16", "a=b=a16_w8", "head=float", "x=average", "x=a8_w4_mse"]
)
def test_the_spelling_comes_back(text: str) -> None:
    assert str(LayerPrecision.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv1", "no override"), ("conv1=b4", "no override"), ("conv1=a7", "Did you mean 'int8'"),
        ("c=a8_a16", "no override"), ("conv1=w16", "Choose one of int8, int4"), ("=a8", "names no layer"),
    ],
)  # fmt: skip
def test_a_wrong_spelling_is_explained(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LayerPrecision.parse(text)


def test_float_activations_have_no_integer_weights() -> None:
    with pytest.raises(UsageError, match="float as a whole"):
        LayerPrecision("head", "int8", "float")


def test_a_name_that_nothing_has_is_an_error_with_the_nearest() -> None:
    model = conv_net()
    real = next(node.name for node in model.graph.graph if node.op_type == "Gemm")
    with pytest.raises(UsageError, match="Did you mean 'Gemm'"):
        made(model, "Gem=a16")
    assert made(model, f"{real or 'Gemm'}=a16")


def test_the_last_override_wins_field_by_field() -> None:
    model, _ = made(conv_net(), "*=w4", "Gemm=w8", "Conv=a8")
    kinds = {
        node.op_type: held.encoding.dtype
        for node in model.graph.graph
        if len(node.inputs) > 1 and (held := weight_of(node.inputs[1])) is not None
    }
    assert kinds == {"Conv": "INT4", "Gemm": "INT8"}


def test_one_wide_layer_stands_between_two_requantizations() -> None:
    model, record = made(conv_net(), "Gemm=a16")
    nodes = [node for node in model.graph.graph if node.op_type == "Identity"]
    assert len(nodes) == 1
    ends = [encoding_of(value) for value in (nodes[0].inputs[0], nodes[0].outputs[0])]
    assert [end.dtype for end in ends if end] == ["INT8", "INT16"]
    assert Counter(activations(model).values())["INT16"] == 2
    assert not record.floats


def test_what_stands_between_wide_layers_is_wide_and_what_does_not_is_not() -> None:
    both, _ = made(chain(), "Conv=a16")
    assert set(activations(both).values()) == {"INT16"}
    assert not any(node.op_type == "Identity" for node in both.graph.graph)
    second = chain()
    last = list(second.graph.graph)[-1]
    last.name = "last"
    one, _ = made(second, "last=a16")
    assert activations(one) == {"a": "INT8", "p": "INT8", "p/int16": "INT16", "y": "INT16"}


def test_an_input_is_quantized_for_the_widest_of_its_readers() -> None:
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] z) {\n y = Conv(x, w1)\n z = Conv(x, w2)\n}"
    rng = np.random.default_rng(0)
    model = model_of(text, {name: rng.standard_normal((4, 4, 1, 1)).astype(np.float32) for name in ("w1", "w2")})
    next(iter(model.graph.graph)).name = "first"
    model, _ = made(model, "first=a16")
    source = encoding_of(model.graph.graph.inputs[0])
    assert source is not None
    assert source.dtype == "INT16"
    assert activations(model) == {"y": "INT16", "x/int8": "INT8", "z": "INT8"}


def test_a_shared_weight_is_held_in_both_precisions() -> None:
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {\n a = Conv(x, w1)\n y = Conv(a, w1)\n}"
    weight = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    model = model_of(text, {"w1": weight})
    for name, node in zip(("first", "second"), model.graph.graph, strict=True):
        node.name = name
    model, _ = made(model, "first=w4")
    held = [weight_of(node.inputs[1]) for node in model.graph.graph]
    assert [item.encoding.dtype for item in held if item] == ["INT4", "INT8"]


def test_what_no_kernel_takes_stays_float_and_is_named() -> None:
    _, record = made(conv_net(), "Gemm=a16_w4")
    assert [why for _, why in record.floats] == ["no integer kernel for Gemm with INT16 activations and INT4 weights"]
    _, record = made(conv_net(), "Gemm=float")
    assert [why for _, why in record.floats] == ["kept by 'Gemm'"]


def test_sixteen_bits_by_default_and_eight_for_one() -> None:
    model, _ = made(conv_net(), "Gemm=a8", precision="int16x8")
    kinds = Counter(activations(model).values())
    assert kinds["INT8"] == 2
    assert kinds["INT16"] >= 4


def test_ranges_of_one_layer_are_its_own() -> None:
    """The loudest sample is cut by 'average' and kept by 'minmax'."""

    def scale(*overrides: str) -> float:
        model, _ = made(conv_net(), *overrides)
        found = encoding_of(model.graph.graph.outputs[0])
        assert found is not None
        return float(found.scale)

    assert scale("Gemm=average") < 0.8 * scale()


def prepared(model: Model, target: Any, options: Any) -> Prepared:
    model.graph.metadata_props[KERNELS_KEY] = "integer"
    return target.prepare(Model(model.graph.clone(), model.origin, []), options)


@pytest.mark.parametrize(
    ("target", "options"), [(TFLITE, TFLiteOptions(precision="int8")), (ORT, OrtOptions(precision="int8"))]
)
@pytest.mark.parametrize("overrides", [["Gemm=a16"], ["Conv=a16", "Gemm=a8_w4"], ["*=a16", "Gemm=a8"], ["*=w4"]])
def test_the_runtimes_compute_what_the_encodings_say(
    target: Any, options: Any, overrides: list[str], tmp_path: Path
) -> None:
    model, _ = made(conv_net(), *overrides)
    ready = prepared(model, target, options)
    if target is TFLITE:
        assert ready.operators["DEQUANTIZE"] == 1, ready.notes
    artifact, emulation = target.runner(target.write(ready, tmp_path, "net").path), GraphRunner(emulated(model.graph))
    step = float(encoding_of(model.graph.graph.outputs[0]).scale)  # type: ignore[union-attr]
    coarse = max(
        float(found.scale) for node in model.graph.graph if (found := encoding_of(node.outputs[0])) is not None
    )
    for sample in images(8, seed=5):
        want, got = emulation.run(sample)["y"], next(iter(artifact.run(sample).values())).reshape(1, 10)
        assert np.abs(want - got).max() <= max(step, coarse) * 1.01


def test_four_bits_are_four_bits_in_the_file() -> None:
    model, _ = made(conv_net(), "Gemm=w4")
    kinds = {tensor.type for tensor in prepared(model, TFLITE, TFLiteOptions(precision="int8")).payload.subgraphs[0].tensors}
    assert {"INT4", "INT8"} <= kinds


def test_wide_layers_are_nearer_to_the_float_model() -> None:
    plain, wide = (made(conv_net(), *overrides)[1].snr for overrides in ([], ["*=a16"]))
    assert wide > plain + 1  # what is left are the weights
