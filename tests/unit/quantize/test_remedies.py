"""Plans made again, and remedies that are measured as what they ask for."""

from __future__ import annotations

import numpy as np
import pytest

from bessemer.quantize.levels import Quantize
from bessemer.quantize.precision import LayerPrecision, is_called
from bessemer.quantize.remedies import called, mend, try_remedies
from bessemer.quantize.replan import Replan
from bessemer.quantize.scheme import PRODUCTS
from bessemer.quantize.stage import quantize

from .nets import conv_net, images, model_of

PLAIN = Quantize(method="minmax", level=-100)


def test_a_plan_made_again_is_what_the_stage_makes() -> None:
    """16 samples: trials are judged on all of them."""
    model, samples = conv_net(), images(16)
    replan = Replan(model, PLAIN, samples)
    for text in ([], ["Gemm=a16"], ["Conv=w4", "Gemm=float"], ["*=a16"], ["Gemm=average"]):
        layers = tuple(LayerPrecision.parse(item) for item in text)
        how = Quantize(method="minmax", level=-100, layers=layers)
        assert replan.snr(layers) == pytest.approx(quantize(model, how, samples)[1].snr, abs=1e-6), text


def test_every_product_has_a_name_of_its_own() -> None:
    graph = conv_net().graph.graph
    products = [node for node in graph if node.op_type in PRODUCTS]
    for place, node in enumerate(products):
        node.name = f"conv[{place}]"
    for node in products:
        glob = called(graph, node)
        assert [other for other in products if is_called(other, glob)] == [node]


def test_one_loud_weight_of_four_bits_is_mended_by_eight() -> None:
    """The second layer's channels have outliers that four bits cannot hold beside the rest."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((8, 8, 1, 1)).astype(np.float32) for name in ("w1", "w2", "w3")}
    weights["w2"][:, 0] *= 40
    weights["w1"][0] /= 40
    text = "net (float[1,8,8,8] x) => (float[1,8,8,8] y) {\n a = Conv(x, w1)\n b = Conv(a, w2)\n y = Conv(b, w3)\n}"
    model = model_of(text, weights)
    for name, node in zip(("one", "two", "three"), model.graph.graph, strict=True):
        node.name = name
    samples = [{"x": rng.standard_normal((1, 8, 8, 8)).astype(np.float32)} for _ in range(16)]
    replan = Replan(model, Quantize("int8x4", method="minmax", level=-100), samples)
    tried = try_remedies(replan, list(model.graph.graph))
    assert [str(item) for item in tried[0].layers][-1] in ("two=w8", "two=float")
    for item in tried[:4]:
        assert replan.snr(item.layers) == pytest.approx(replan.snr() + item.gain)
    found = mend(replan, tried)
    assert found is not None
    layers = [LayerPrecision.parse(item) for item in found.layers]
    assert replan.snr(layers) == pytest.approx(replan.snr() + found.gain)
    assert found.gain >= tried[0].gain


def test_nothing_is_mended_where_nothing_helps() -> None:
    replan = Replan(conv_net(), Quantize("int16x8", method="minmax", level=-100), images(16))
    assert mend(replan, []) is None
