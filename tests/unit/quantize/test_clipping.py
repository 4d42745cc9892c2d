"""Clipping of weights against brute force, and rules as options say them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.numbers import integer_range
from bessemer.quantize.algorithms import weights_clipping
from bessemer.quantize.algorithms.weights_clipping import clipped, fit
from bessemer.quantize.assign import held
from bessemer.quantize.clipping import WEIGHTS, Clip, parse
from bessemer.quantize.encodings import integer_format
from bessemer.quantize.encodings.base import Grain
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize

from .nets import CONV, SHAPES, conv_net, images, model_of

MMSE = Clip("mmse")


def tailed(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)


def error(row: np.ndarray, reach: float, bits: int) -> float:
    """Squared error of symmetric integers that end at `reach`."""
    top = 2 ** (bits - 1) - 1
    step = reach / top
    return float(np.square(np.clip(np.rint(row / step), -top - 1, top) * step - row).sum())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_mmse_is_the_best_reach_of_its_grid_for_each_channel(bits: int, axis: int) -> None:
    weight = tailed((12, 300))
    found = fit(weight, integer_format(f"INT{bits}", symmetric=True), Grain(axis), MMSE)
    for scale, row in zip(found.scale, np.moveaxis(weight, axis, 0), strict=True):
        peak = float(np.abs(row).max())
        best = min(error(row, peak * share, bits) for share in np.linspace(0.3, 1, 71))
        assert error(row, float(scale) * (2 ** (bits - 1) - 1), bits) == pytest.approx(best, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([Grain(), Grain(0), Grain(1), Grain(0, 8), Grain(1, 8)]), st.booleans(), st.integers(0, 2**32 - 1))
def test_mmse_never_loses_to_the_extremes(grain: Grain, symmetric: bool, seed: int) -> None:
    weight, form = tailed((9, 21), seed), integer_format("INT4", symmetric=symmetric)

    def loss(clip: Clip) -> np.ndarray:
        encoding = fit(weight, form, grain, clip)
        return grain.reduce(np.square(encoding.dequantize(form.encode(weight, encoding)) - weight), np.sum)

    assert np.all(loss(MMSE) <= loss(Clip("disabled")) * (1 + 1e-6))


def test_slabs_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, form = tailed((16, 40)), integer_format("INT4", symmetric=True)
    whole = [fit(weight, form, grain, MMSE) for grain in (Grain(1), Grain(0, 8))]
    monkeypatch.setattr(weights_clipping, "SLAB", 64)
    assert whole == [fit(weight, form, grain, MMSE) for grain in (Grain(1), Grain(0, 8))]


def test_mmse_if4b_looks_at_the_bits() -> None:
    weight = tailed((4, 100))
    scales = {
        (mode, bits): fit(weight, integer_format(f"INT{bits}", symmetric=True), Grain(0), Clip(mode)).scale
        for mode in ("disabled", "mmse", "mmse_if4b")
        for bits in (4, 8)
    }
    np.testing.assert_array_equal(scales["mmse_if4b", 4], scales["mmse", 4])
    np.testing.assert_array_equal(scales["mmse_if4b", 8], scales["disabled", 8])
    assert np.any(scales["mmse", 4] < scales["disabled", 4])


def test_manual_and_percentile_clip_the_weights_first() -> None:
    weight = tailed((4, 1000))
    manual, share = clipped(weight, Clip("manual", -1, 2)), clipped(weight, Clip("percentile", 1, 95))
    assert (manual.min(), manual.max()) == (-1, 2)
    np.testing.assert_allclose((share.min(), share.max()), np.percentile(weight, [1, 95]), rtol=1e-5)
    assert clipped(weight, MMSE) is weight


@pytest.mark.parametrize(
    ("text", "glob", "clip"),
    [
        ("mmse", "*", MMSE),
        ("block/conv:0*=mmse", "block/conv:0*", MMSE),
        ("head=-1.5..2", "head", Clip("manual", -1.5, 2)),
        ("percentile:99", "*", Clip("percentile", 1, 99)),
        ("Conv=percentile:0.5:98", "Conv", Clip("percentile", 0.5, 98)),
    ],
)
def test_rules_are_read(text: str, glob: str, clip: Clip) -> None:
    rule = parse(text, WEIGHTS)
    assert (rule.glob, rule.clip) == (glob, clip)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mmsee", "does not say what to clip"),
        ("a=percentile:x", "does not say"),
        ("=mmse", "does not say"),
        ("mmse:3", "does not say"),
        ("percentile:1:2:3", "does not say"),
        ("1..2", "does not hold 0"),
        ("0..0", "is empty"),
        ("percentile:40", "is empty"),
        ("percentile:-1:99", "not between"),
    ],
)
def test_rules_that_say_nothing_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Quantize(weights_clipping=(text,))


def test_the_last_rule_that_fits_a_layer_wins() -> None:
    net, samples = named_net(), images(2)
    names = [node.name for node in net.graph.graph if node.op_type == "Conv"]
    how = Quantize("int8x4", "minmax", level=-100, weights_clipping=("disabled", "Gemm=mmse", f"{names[0]}=-0.1..0.1"))
    made, _ = quantize(net, how, samples)
    plain, _ = quantize(net, Quantize("int8x4", "minmax", level=-100, weights_clipping=("disabled",)), samples)
    reach = {}
    for mine, theirs in zip(made.graph.graph, plain.graph.graph, strict=True):
        if weight_of(mine.inputs[1] if len(mine.inputs) > 1 else None) is not None:
            ours, others = encoding_of(mine.inputs[1]), encoding_of(theirs.inputs[1])
            assert ours is not None and others is not None
            reach[mine.name, mine.op_type] = ours.scale.max() * 7, float((ours.scale / others.scale).min())
    assert reach[names[0], "Conv"][0] == pytest.approx(0.1)
    assert next(share for (_, kind), (_, share) in reach.items() if kind == "Gemm") < 1
    assert all(share == 1 for (name, kind), (_, share) in reach.items() if kind == "Conv" and name != names[0])


def test_a_glob_that_names_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match="No layer with integer weights is named 'nowhere'"):
        quantize(conv_net(), Quantize(level=-100, weights_clipping=("nowhere=mmse",)), images(2))


def named_net():
    """Every node named after what it makes."""
    net = conv_net()
    for node in net.graph.graph:
        node.name = f"make_{node.outputs[0].name}"
    return net


def ranges_of(model) -> dict[str, tuple[float, float]]:
    """Real range that the integers of every value span."""
    found = {}
    values = [*model.graph.graph.inputs, *(value for node in model.graph.graph for value in node.outputs)]
    for value in values:
        held = encoding_of(value)
        if held is not None:
            low, high = held.dequantize(np.array(integer_range(held.dtype)))
            found[value.name] = (float(low), float(high))
    return found


def net_ranges(*clips: str, recollect: bool = False) -> dict[str, tuple[float, float]]:
    how = Quantize(method="minmax", level=-100, activation_clipping=clips, recollect=recollect, promote=False)
    return ranges_of(quantize(named_net(), how, images(8))[0])


def test_activations_are_clipped_by_value_layer_and_operator() -> None:
    plain = net_ranges()
    step = max(high - low for low, high in plain.values()) / 255
    by_value = net_ranges("ar=-1..0.5")
    assert by_value["ar"] == pytest.approx((0, 0.5), abs=1e-6), "a range is cut, never widened"
    assert {name: span for name, span in by_value.items() if name != "ar"} == {
        name: span for name, span in plain.items() if name != "ar"
    }
    assert net_ranges("make_a=-1..0.5") == by_value, "the layer whose activation makes the value"
    every = net_ranges("-0.25..0.25", "x=disabled")
    assert every["x"] == plain["x"]
    assert all(max(-low, high) <= 0.25 + step for name, (low, high) in every.items() if name != "x")


def test_percentile_clips_are_those_of_numpy() -> None:
    seen = np.concatenate([sample["x"].reshape(-1) for sample in images(8)])
    low, high = net_ranges("x=percentile:2:95")["x"]
    want = np.percentile(seen, [2, 95])
    np.testing.assert_allclose((low, high), want, atol=(want[1] - want[0]) / 100)


def test_what_lies_behind_a_clip_is_seen_again() -> None:
    """As in a net that clips by itself: ONNX Runtime computes the ranges behind the clip."""
    text = CONV.replace("(ar,", "(lim,").replace("ar = Relu(a)", "ar = Relu(a)\n  lim = Clip(ar, low, top)")
    weights = {name: held(value) for name, value in conv_net().graph.graph.initializers.items()}
    limit = {"low": np.float32(0).reshape(()), "top": np.float32(0.5).reshape(())}
    twin = model_of(text, {name: weights[name] for name in SHAPES} | limit)
    want = ranges_of(quantize(twin, Quantize(method="minmax", level=-100, promote=False), images(8))[0])
    once, again = net_ranges("ar=0..0.5"), net_ranges("ar=0..0.5", recollect=True)
    for name in ("dr", "sr", "y"):
        assert again[name] == pytest.approx(want[name], rel=1e-5)
        assert again[name] != pytest.approx(once[name], rel=1e-3)


def test_clips_that_name_nothing_are_errors() -> None:
    with pytest.raises(UsageError, match="No quantized value or its layer is named 'zz'"):
        net_ranges("zz=-1..1")
    with pytest.raises(UsageError, match="none is clipped"):
        net_ranges(recollect=True)
    with pytest.raises(UsageError, match="does not say what to clip"):
        net_ranges("mmse")
