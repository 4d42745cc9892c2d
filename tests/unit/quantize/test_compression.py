"""Shares of the weights in four bits: reached, no more than needed, and what the user set is left alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bessemer.ir.encoding import weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.algorithms.compression import compress
from bessemer.quantize.levels import COMPRESSION, Quantize
from bessemer.quantize.precision import LayerPrecision, parsed
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import PRODUCTS
from bessemer.quantize.stage import quantize

from .nets import conv_net, images, model_of


def net() -> Model:
    model = conv_net()
    for place, node in enumerate(node for node in model.graph.graph if node.op_type in PRODUCTS):
        node.name = f"layer{place}"
    return model


def share(model: Model) -> float:
    held = [weight_of(node.inputs[1]) for node in model.graph.graph if node.op_type in PRODUCTS]
    sizes = [(item.integers.size, item.encoding.dtype) for item in held if item is not None]
    return sum(size for size, kind in sizes if kind == "INT4") / sum(size for size, _ in sizes)


@pytest.mark.parametrize("level", range(6))
def test_the_share_is_reached_and_nothing_is_taken_that_it_does_not_need(level: int) -> None:
    how = Quantize(method="minmax", level=-100, compression=level)
    made, record = quantize(net(), how, images(16))
    assert share(made) >= COMPRESSION[level] - 1e-9
    chosen = parsed(record.layers)
    assert all(item.weights == "int4" for item in chosen)
    for item in chosen:
        less = [other for other in chosen if other is not item]
        without, _ = quantize(net(), Quantize(method="minmax", level=-100, layers=tuple(less)), images(16))
        assert share(without) < COMPRESSION[level]
    assert (record.notes != []) == (level > 0)


def test_the_choice_is_near_the_best_of_all() -> None:
    """Of all sets of layers that reach the share, by the outputs' measured ratio."""
    samples, plain = images(16), Quantize(method="minmax", level=-100)
    replan = Replan(net(), plain, samples)
    names = [f"layer{place}" for place in range(5)]
    for level in (1, 2, 3, 4):
        layers, _ = compress(net(), Quantize(method="minmax", level=-100, compression=level), samples)
        every = []
        for count in range(1, 6):
            for some in itertools.combinations(names, count):
                asked = tuple(LayerPrecision(name, weights="int4") for name in some)
                made, _ = replan(asked)
                if share(made) >= COMPRESSION[level]:
                    every.append(replan.judge(made))
        assert replan.snr(layers) >= max(every) - 1.5
        assert replan.snr(layers) > float(np.median(every)) or len(every) < 3


def test_what_the_user_set_is_left_and_what_is_missing_is_said() -> None:
    how = Quantize(method="minmax", level=-100, compression=5, layers=parsed(["layer0=w8", "layer4=a16"]))
    made, record = quantize(net(), how, images(16))
    kinds = {
        node.name: held.encoding.dtype
        for node in made.graph.graph
        if node.op_type in PRODUCTS and (held := weight_of(node.inputs[1])) is not None
    }
    assert kinds == {"layer0": "INT8", "layer1": "INT4", "layer2": "INT4", "layer3": "INT4", "layer4": "INT8"}
    assert any("not 100%" in note for note in record.notes)


def test_four_bits_that_the_user_set_count() -> None:
    how = Quantize(method="minmax", level=-100, compression=2, layers=parsed(["layer0=w4", "layer3=w4"]))
    layers, _ = compress(net(), how, images(16))
    assert layers == ()


def test_transposed_convolutions_are_left_in_eight_bits() -> None:
    text = "net (float[1,4,8,8] x) => (float[1,4,8,8] y) {\n a = Conv(x, w1)\n y = ConvTranspose(a, w2)\n}"
    rng = np.random.default_rng(0)
    model = model_of(text, {name: rng.standard_normal((4, 4, 1, 1)).astype(np.float32) for name in ("w1", "w2")})
    samples = [{"x": rng.standard_normal((1, 4, 8, 8)).astype(np.float32)} for _ in range(16)]
    layers, said = compress(model, Quantize(compression=5), samples)
    assert len(layers) == 1
    assert "50%" in said


@pytest.mark.parametrize("precision", ["int8x4", "int16x8"])
def test_other_schemes_are_refused(precision: str) -> None:
    with pytest.raises(UsageError, match="does not go with"):
        quantize(net(), Quantize(precision, level=-100, compression=1), images(16))


def test_another_level_is_an_error() -> None:
    with pytest.raises(UsageError, match="no compression level 6"):
        Quantize(compression=6)
