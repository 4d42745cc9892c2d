"""Fake quantization against the emulation, its gradients, and fine-tuning against plain rounding on a real net."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from bessemer.ir.encoding import Encoding, encoding_of, weight_of
from bessemer.ir.errors import MissingExtra, UsageError
from bessemer.ir.model import Model
from bessemer.quantize.assign import assign
from bessemer.quantize.judge import Judge, clone, emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import observe
from bessemer.quantize.plan import Plan, make_plan
from bessemer.quantize.scheme import SCHEMES
from bessemer.quantize.settle import settle, wanted
from bessemer.quantize.stage import quantize
from bessemer.runners.graph import GraphRunner

from .nets import conv_net, digits, images


def rounded(model: Model, samples: list, precision: str) -> tuple[Model, Plan]:
    made = clone(model)
    graph = made.graph.graph
    plan = make_plan(graph, SCHEMES[precision])
    plan, ranges = settle(graph, plan, observe(made.graph, wanted(plan), samples), Quantize(method="mse"))
    assign(graph, plan, ranges)
    return made, plan


def test_levels_without_torch_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"Optimisation level 2 needs the package 'torch'.*bessemer\[train\]"):
        quantize(conv_net(0), Quantize(level=2), images(1) * 1024)


def test_training_wants_its_samples() -> None:
    with pytest.raises(UsageError, match="level 2 needs 1024 calibration samples, there are 64"):
        quantize(conv_net(0), Quantize(level=2), images(64))


needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@needs_torch
@pytest.mark.parametrize("precision", ["int8", "int8x4", "int16x8"])
def test_fake_quantization_is_the_emulation(precision: str) -> None:
    import torch

    from bessemer.quantize.fake import FakeQuantized

    for model, samples in ((conv_net(2), images(8)), (digits()[0], digits()[1][:32])):
        made, _ = rounded(model, samples, precision)
        names = [value.name or "" for value in made.graph.graph.outputs]
        fake, runner = FakeQuantized(made.graph), GraphRunner(emulated(made.graph), optimize=False)
        equal = total = 0
        for sample in samples:
            right = runner.run(sample)
            got = fake({name: torch.from_numpy(np.array(array)) for name, array in sample.items()})
            for name, mine in zip(names, got, strict=True):
                span = float(np.ptp(right[name])) or 1.0
                # sums in another order fall on the other side of a rounding now and then
                np.testing.assert_allclose(mine.numpy(), right[name], atol=0.05 * span)
                equal += int((np.abs(mine.numpy() - right[name]) < 1e-6 * span).sum())
                total += right[name].size
        assert equal >= (0.6 if precision == "int16x8" else 0.97) * total


@needs_torch
@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "INT16", "INT4", "UINT4", "INT32", "FLOAT8E4M3FN", "FLOAT8E5M2"])
@pytest.mark.parametrize(("axis", "block"), [(None, 0), (1, 0), (1, 4)])
def test_a_fake_is_its_encoding_bit_for_bit(dtype: str, axis: int | None, block: int) -> None:
    import torch

    from bessemer.ir.encoding import quantize as codes
    from bessemer.ir.numbers import holder
    from bessemer.quantize.fake import Fake

    rng = np.random.default_rng(5)
    x = (rng.standard_normal((6, 12)) * 4).astype(np.float32)
    shape = {(None, 0): (), (1, 0): (12,), (1, 4): (6, 3)}[axis, block]
    scale = rng.uniform(0.01, 0.3, shape).astype(np.float32)
    zero = rng.integers(0, 8, shape) * dtype.startswith("U")
    encoding = Encoding(dtype, np.asarray(scale), np.asarray(zero).astype(holder(dtype)), axis, block)
    want = encoding.dequantize(codes(x, encoding))
    np.testing.assert_array_equal(Fake(encoding, x.shape)(torch.from_numpy(x)).numpy(), want)


@needs_torch
def test_gradients_pass_inside_the_clip_and_stop_outside() -> None:
    import torch

    from bessemer.quantize.fake import Fake

    encoding = Encoding("INT4", np.float32([0.5, 0.25]), np.zeros(2, np.int8), axis=0)
    fake = Fake(encoding, (2, 4), weight=True)
    x = torch.tensor([[0.2, 3.4, 5.0, -9.0], [0.2, 1.7, -1.8, 0.3]], requires_grad=True)
    scale = fake.scale.clone().requires_grad_()
    y = fake(x, scale)
    np.testing.assert_allclose(y.detach().numpy(), [[0, 3.5, 3.5, -4.0], [0.25, 1.75, -1.75, 0.25]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[1, 1, 0, 0], [1, 1, 1, 1]])
    ratio = np.array([[0.4, 6.8], [0.8, 6.8]])
    inside = (np.rint(ratio) - ratio).sum(1)
    extra = [7 - 8, (-7 + 7.2) + (1 - 1.2)]
    np.testing.assert_allclose(scale.grad.numpy().ravel(), inside + extra, atol=1e-5)


@needs_torch
@pytest.mark.slow
def test_fine_tuning_beats_rounding_in_four_bits() -> None:
    from bessemer.quantize.algorithms.finetune import FineTune, finetune

    model, samples, others = digits()
    judge = Judge(model, others)
    made, plan = rounded(model, samples, "int8x4")
    plain = judge(made)
    tuned = finetune(made, model.graph, plan, samples, FineTune(seed=1))
    assert judge(made) > plain + 3, (plain, judge(made))
    assert tuned.epoch and min(tuned.losses) == tuned.losses[tuned.epoch] < tuned.losses[0]
    for product in plan.products:
        weight, encoding = weight_of(product.weight), encoding_of(product.weight)
        assert weight is not None and encoding is not None and encoding.dtype == "INT4"
        assert weight.integers.min() >= -7 and weight.integers.max() <= 7
        assert product.bias is None or weight_of(product.node.inputs[2]) is not None


def _integers(how: Any) -> list[bytes]:
    from bessemer.quantize.algorithms.finetune import finetune

    model, samples = conv_net(1), images(24)
    made, plan = rounded(model, samples, "int8x4")
    finetune(made, model.graph, plan, samples, how)
    found = [weight_of(value) for value in made.graph.graph.initializers.values()]
    return [weight.integers.tobytes() for weight in found if weight is not None]


@needs_torch
def test_the_result_is_the_same_with_any_number_of_threads() -> None:
    from bessemer.quantize.algorithms.finetune import FineTune

    one = _integers(FineTune(epochs=3, threads=1, rate=1e-3))
    assert one == _integers(FineTune(epochs=3, threads=3, rate=1e-3))
    assert one != _integers(FineTune(epochs=0))


@needs_torch
def test_biases_alone_leave_the_weights() -> None:
    from bessemer.quantize.algorithms.finetune import FineTune, finetune

    model, samples = conv_net(1), images(24)
    made, plan = rounded(model, samples, "int8x4")
    before = [weight_of(product.weight).integers.copy() for product in plan.products]  # type: ignore[union-attr]
    biases = [weight_of(product.node.inputs[2]).integers.copy() for product in plan.products if product.bias is not None]  # type: ignore[union-attr]
    tuned = finetune(made, model.graph, plan, samples, FineTune(epochs=3, rate=1e-3, bias_only=True))
    assert tuned.epoch
    for old, product in zip(before, plan.products, strict=True):
        np.testing.assert_array_equal(weight_of(product.weight).integers, old)  # type: ignore[union-attr]
    after = [weight_of(product.node.inputs[2]).integers for product in plan.products if product.bias is not None]  # type: ignore[union-attr]
    assert any(not np.array_equal(a, b) for a, b in zip(biases, after, strict=True))


@needs_torch
def test_trained_scales_reach_the_encodings() -> None:
    from bessemer.quantize.algorithms.finetune import FineTune, finetune

    model, samples = conv_net(1), images(24)
    judge = Judge(model, images(16, seed=9))
    made, plan = rounded(model, samples, "int8x4")
    plain, before = judge(made), [encoding_of(product.weight).scale.copy() for product in plan.products]  # type: ignore[union-attr]
    tuned = finetune(made, model.graph, plan, samples, FineTune(epochs=4, rate=2e-3, train_scales=True))
    assert tuned.epoch and judge(made) > plain
    after = [encoding_of(product.weight) for product in plan.products]
    assert any(not np.array_equal(old, new.scale) for old, new in zip(before, after, strict=True))
    for product in plan.products:
        if product.bias is not None:
            source, bias = encoding_of(product.node.inputs[0]), encoding_of(product.node.inputs[2])
            want = np.float32(source.scale) * encoding_of(product.weight).scale  # type: ignore[union-attr]
            np.testing.assert_array_equal(bias.scale, want)  # type: ignore[union-attr]


@needs_torch
@pytest.mark.parametrize("name", ["l2rel", "ce", "cosine"])
def test_losses_and_their_gradients_are_those_of_numpy(name: str) -> None:
    """Against the formulas in double precision, gradients by central differences."""
    import torch

    from bessemer.quantize.algorithms.distances import LOSSES

    rng = np.random.default_rng(0)
    got, wanted = rng.standard_normal((3, 5)), rng.standard_normal((3, 5))

    def soft(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    def value(x: np.ndarray) -> float:
        if name == "l2rel":
            return float(((x - wanted) ** 2).sum())
        if name == "ce":
            return float(-(soft(wanted) * np.log(soft(x))).sum())
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(wanted, axis=1)
        return float((1 - (x * wanted).sum(1) / norms).sum())

    leaf = torch.tensor(got, requires_grad=True)
    loss = LOSSES[name](leaf, torch.tensor(wanted))
    loss.backward()
    assert abs(loss.item() - value(got)) < 1e-9
    for place in np.ndindex(got.shape):
        step = np.zeros_like(got)
        step[place] = 1e-6
        slope = (value(got + step) - value(got - step)) / 2e-6
        assert abs(leaf.grad[place].item() - slope) < 1e-6


@needs_torch
def test_an_activation_scale_gets_the_gradient_of_lsq() -> None:
    """The student's own chain, against the formula (round(x/s) - x/s inside, the clipped integer outside) written out."""
    import torch

    from bessemer.quantize.fake import FakeQuantized

    made, _ = rounded(conv_net(1), images(8), "int8")
    student, value = FakeQuantized(made.graph), made.graph.graph.inputs[0]
    encoding = encoding_of(value)
    assert encoding is not None
    x = torch.from_numpy(images(1)[0][value.name or ""] * 1.5)
    scale = torch.tensor(encoding.scale, requires_grad=True)
    student.scales = {value.name or "": scale}
    seen = student._act(value, x)
    seen.sum().backward()
    ratio = x.numpy().astype(np.float64) / float(encoding.scale)
    steps = np.rint(ratio) + float(encoding.zero_point)
    inside = (steps >= -128) & (steps <= 127)
    slope = np.where(inside, np.rint(ratio) - ratio, np.clip(steps, -128, 127) - float(encoding.zero_point))
    np.testing.assert_allclose(float(scale.grad), slope.sum(), rtol=1e-3)
    assert (~inside).any()


@needs_torch
def test_trained_activation_scales_reach_the_values_and_the_biases() -> None:
    from bessemer.quantize.algorithms.finetune import FineTune, finetune

    model, samples = conv_net(1), images(24)
    made, plan = rounded(model, samples, "int8x4")
    before = [weight_of(product.weight).integers.copy() for product in plan.products]  # type: ignore[union-attr]
    ranges = [encoding_of(group.values[0]).scale.copy() for group in plan.groups]  # type: ignore[union-attr]
    tuned = finetune(made, model.graph, plan, samples, FineTune(epochs=3, rate=2e-3, bias_only=True, train_scales=True))
    assert tuned.epoch and tuned.losses[tuned.epoch] < tuned.losses[0]
    for old, product in zip(before, plan.products, strict=True):
        np.testing.assert_array_equal(weight_of(product.weight).integers, old)  # type: ignore[union-attr]
        if product.bias is None:
            continue
        source, bias = encoding_of(product.node.inputs[0]), encoding_of(product.node.inputs[2])
        want = np.float32(source.scale) * encoding_of(product.weight).scale  # type: ignore[union-attr]
        np.testing.assert_array_equal(bias.scale, want)  # type: ignore[union-attr]
    after = [encoding_of(group.values[0]).scale for group in plan.groups]  # type: ignore[union-attr]
    assert any(not np.array_equal(old, new) for old, new in zip(ranges, after, strict=True))
    assert Judge(model, samples)(made) > 0


@needs_torch
def test_powers_of_two_are_not_trained_and_unknown_losses_are_named() -> None:
    from dataclasses import replace

    from bessemer.quantize.algorithms.finetune import FineTune, finetune

    model, samples = conv_net(1), images(8)
    made, plan = rounded(model, samples, "int8")
    plan = replace(plan, scheme=replace(plan.scheme, power_of_two=True))
    with pytest.raises(UsageError, match="powers of two cannot be trained"):
        finetune(made, model.graph, plan, samples, FineTune(train_scales=True))
    with pytest.raises(UsageError, match=r"no loss 'l1'.*l2rel, ce, cosine"):
        FineTune(loss="l1")
