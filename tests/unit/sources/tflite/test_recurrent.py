"""Recurrent layers against LiteRT, from the zero state of a fresh interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Array, Builder, both, converted, same, scaled

from bessemer.ir.errors import Declined
from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(11)
BATCH, STEPS, WIDTH, UNITS, SHOWN = 2, 4, 3, 5, 6
ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 3, "tanh": 4}


@pytest.fixture(autouse=True)
def same_numbers_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever tests ran before."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(11))


def random(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def matrix(build: Builder, hybrid: bool, *shape: int) -> int:
    """Weights; integers that stand for about the same range when hybrid."""
    if not hybrid:
        return build.const(random(*shape))
    return build.const(RNG.integers(-127, 128, shape), "int8", quantization=scaled(0.015))


def state(build: Builder, width: int) -> int:
    return build.tensor((BATCH, width), is_variable=True)


def sequence(build: Builder, time_major: bool) -> int:
    return build.input(random(*((STEPS, BATCH) if time_major else (BATCH, STEPS)), WIDTH))


def result(build: Builder, time_major: bool, width: int) -> int:
    return build.tensor((*((STEPS, BATCH) if time_major else (BATCH, STEPS)), width))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_svdf(tmp_path: Path, rank: int, bias: bool, activation: str) -> None:
    build = Builder()
    x = build.input(random(BATCH, WIDTH))
    feature, time = build.const(random(4 * rank, WIDTH)), build.const(random(4 * rank, 7))
    held = build.tensor((BATCH, 7 * 4 * rank), is_variable=True)
    out = build.tensor((BATCH, 4))
    build.op(
        "SVDF", [x, feature, time, build.const(random(4)) if bias else -1, held], [out], table="SVDFOptions",
        rank=rank, fused_activation_function=ACTIVATIONS[activation],
    )  # fmt: skip
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("zero", [-128, 10])
def test_integer_svdf(tmp_path: Path, zero: int) -> None:
    build = Builder()
    x = build.input(RNG.integers(-128, 128, (BATCH, WIDTH)), "int8", quantization=scaled(0.02, 3))
    feature = build.const(RNG.integers(-127, 128, (8, WIDTH)), "int8", quantization=scaled(0.01))
    time = build.const(RNG.integers(-30000, 30000, (8, 7)), "int16", quantization=scaled(2**-15))
    bias = build.const(RNG.integers(-9000, 9000, 4), "int32", quantization=scaled(1e-4 * 2**-15))
    held = build.tensor((BATCH, 56), "int16", is_variable=True, quantization=scaled(1e-4))
    out = build.tensor((BATCH, 4), "int8", quantization=scaled(0.02, zero))
    build.op(
        "SVDF", [x, feature, time, bias, held], [out], table="SVDFOptions", rank=2,
        fused_activation_function=ACTIVATIONS["relu"],
    )  # fmt: skip
    ((expected, got),) = both(build.save([out], tmp_path / "m.tflite"), build.feeds)
    assert len(np.unique(expected)) > 3
    assert np.abs(expected.astype(int) - got.astype(int)).max() <= 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("time_major", [None, False, True])
def test_rnn(tmp_path: Path, activation: str, time_major: bool | None) -> None:
    build = Builder()
    single = time_major is None
    x = build.input(random(BATCH, WIDTH)) if single else sequence(build, bool(time_major))
    operands = [build.const(random(*shape)) for shape in ((UNITS, WIDTH), (UNITS, UNITS), (UNITS,))]
    out = build.tensor((BATCH, UNITS)) if single else result(build, bool(time_major), UNITS)
    more = {} if single else {"time_major": bool(time_major)}
    build.op(
        "RNN" if single else "UNIDIRECTIONAL_SEQUENCE_RNN", [x, *operands, state(build, UNITS)], [out],
        table="RNNOptions" if single else "SequenceRNNOptions",
        fused_activation_function=ACTIVATIONS[activation], **more,
    )  # fmt: skip
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu6"])
def test_rnn_both_ways(tmp_path: Path, merged: bool, time_major: bool, activation: str) -> None:
    build = Builder()
    operands = [sequence(build, time_major)]
    for _ in range(2):
        operands += [build.const(random(*shape)) for shape in ((UNITS, WIDTH), (UNITS, UNITS), (UNITS,))]
        operands.append(state(build, UNITS))
    widths = [2 * UNITS] if merged else [UNITS, UNITS]
    outs = [result(build, time_major, width) for width in widths]
    build.op(
        "BIDIRECTIONAL_SEQUENCE_RNN", [*operands, -1, -1, -1], outs, table="BidirectionalSequenceRNNOptions",
        time_major=time_major, merge_outputs=merged, fused_activation_function=ACTIVATIONS[activation],
    )  # fmt: skip
    same(build.save(outs, tmp_path / "m.tflite"), build.feeds)


def lstm_weights(build: Builder, traits: str) -> list[int]:
    """Operands 1 to 17: gates i, f, c, o; recurrent ones; peepholes; biases; projection."""
    shown = SHOWN if "projection" in traits else UNITS
    coupled, hybrid = "coupled" in traits, "hybrid" in traits
    gates = [-1 if coupled and i == 0 else matrix(build, hybrid, UNITS, WIDTH) for i in range(4)]
    gates += [-1 if coupled and i == 0 else matrix(build, hybrid, UNITS, shown) for i in range(4)]
    holes = [
        -1 if "peephole" not in traits or (coupled and i == 0) else matrix(build, hybrid, UNITS)
        for i in range(3)
    ]
    biases = [-1 if coupled and i == 0 else build.const(random(UNITS)) for i in range(4)]
    projected = "projection" in traits
    projection = matrix(build, hybrid, SHOWN, UNITS) if projected else -1
    return [*gates, *holes, *biases, projection, build.const(random(SHOWN)) if projected else -1]


def clips(traits: str) -> dict[str, Any]:
    return {
        "cell_clip": 0.3 if "clip" in traits else 0.0,
        "proj_clip": 0.4 if "clip" in traits else 0.0,
        "fused_activation_function": ACTIVATIONS["relu" if "relu" in traits else "tanh"],
    }


TRAITS = [
    "", "coupled", "peephole", "coupled peephole", "projection", "clip", "norm", "relu", "coupled norm",
    "peephole projection clip norm", "coupled peephole projection clip norm", "relu clip",
]  # fmt: skip


def one_way(build: Builder, name: str, traits: str, time_major: bool) -> int:
    shown = SHOWN if "projection" in traits else UNITS
    single = name == "LSTM"
    x = build.input(random(BATCH, WIDTH)) if single else sequence(build, time_major)
    operands = [x, *lstm_weights(build, traits), state(build, shown), state(build, UNITS)]
    if "norm" in traits:
        coupled = "coupled" in traits
        operands += [-1 if coupled and i == 0 else build.const(random(UNITS)) for i in range(4)]
    out = build.tensor((BATCH, shown)) if single else result(build, time_major, shown)
    table = "LSTMOptions" if single else "UnidirectionalSequenceLSTMOptions"
    more = {} if single else {"time_major": time_major}
    build.op(name, operands, [out], table=table, **clips(traits), **more)
    return out


@pytest.mark.parametrize("traits", TRAITS)
@pytest.mark.parametrize("time_major", [False, True])
def test_sequence_lstm(tmp_path: Path, traits: str, time_major: bool) -> None:
    build = Builder()
    out = one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", traits, time_major)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("traits", TRAITS)
def test_full_lstm(tmp_path: Path, traits: str) -> None:
    build = Builder()
    out = one_way(build, "LSTM", traits, time_major=False)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("traits", ["hybrid", "hybrid peephole projection clip"])
def test_hybrid_lstm(tmp_path: Path, traits: str) -> None:
    """LiteRT rounds the float activations of such layers to eight bits; the reading does not."""
    build = Builder()
    out = one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", traits, time_major=False)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds, 0.05)


def two_ways(build: Builder, traits: str, merged: bool, time_major: bool) -> list[int]:
    shown = SHOWN if "projection" in traits else UNITS
    operands = [sequence(build, time_major), *lstm_weights(build, traits), *lstm_weights(build, traits)]
    operands += [state(build, width) for width in (shown, UNITS, shown, UNITS)]
    outs = [result(build, time_major, width) for width in ([2 * shown] if merged else [shown, shown])]
    build.op(
        "BIDIRECTIONAL_SEQUENCE_LSTM", [*operands, *[-1] * 9], outs, table="BidirectionalSequenceLSTMOptions",
        merge_outputs=merged, time_major=time_major, **clips(traits),
    )  # fmt: skip
    return outs


BOTH_WAYS = ["", "coupled peephole", "peephole projection clip", "relu"]


@pytest.mark.parametrize("traits", BOTH_WAYS)
@pytest.mark.parametrize(("merged", "time_major"), [(False, False), (False, True), (True, True)])
def test_lstm_both_ways(tmp_path: Path, traits: str, merged: bool, time_major: bool) -> None:
    build = Builder()
    outs = two_ways(build, traits, merged, time_major)
    same(build.save(outs, tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("traits", BOTH_WAYS)
def test_lstm_both_ways_merged_batch_first(
    tmp_path: Path, traits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT 2.3 reads past its state from the second batch row on here: its separate outputs are the measure."""
    halves, results = [], {}
    for merged in (False, True):
        monkeypatch.setitem(globals(), "RNG", np.random.default_rng(12))
        build = Builder()
        path = build.save(two_ways(build, traits, merged, False), tmp_path / "m.tflite")
        if not merged:
            halves = [expected for expected, _ in both(path, build.feeds)]
        else:
            results = converted(path, build.feeds)
    (got,) = results.values()
    np.testing.assert_allclose(got, np.concatenate(halves, axis=-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("given", [False, True])
def test_basic_lstm(tmp_path: Path, given: bool) -> None:
    build = Builder()
    x = build.input(random(BATCH, WIDTH))
    held = [build.input(random(BATCH, UNITS)) if given else state(build, UNITS) for _ in range(2)]
    table = build.const(random(4 * UNITS, WIDTH + UNITS))
    operands = [x, held[0], table, build.const(random(4 * UNITS)), held[1]]
    outs = [build.tensor((BATCH, width)) for width in (UNITS, UNITS, WIDTH + UNITS, 4 * UNITS)]
    build.op("LSTM", operands, outs, table="LSTMOptions", kernel_type=1, fused_activation_function=4)
    same(build.save(outs[:2], tmp_path / "m.tflite"), build.feeds)


def integers(build: Builder, dtype: str, scale: float, *shape: int) -> int:
    limit = {"int8": 127, "int16": 32767, "int32": 4000}[dtype]
    return build.const(RNG.integers(-limit, limit + 1, shape), dtype, quantization=scaled(scale))


def integer_lstm(build: Builder, name: str, traits: str) -> int:
    """Input steps 1/64, weights 1/100, cell 2^-11; hidden and output in steps of 1/100 around 5."""
    shown, single = SHOWN if "projection" in traits else UNITS, name == "LSTM"
    skipped, normed = {0} if "coupled" in traits else set(), "norm" in traits
    shape = (BATCH, WIDTH) if single else (BATCH, STEPS, WIDTH)
    x = build.input(RNG.integers(-128, 128, shape), "int8", quantization=scaled(1 / 64, -3))
    operands = [x]
    for width in (WIDTH, shown):
        operands += [-1 if i in skipped else integers(build, "int8", 0.01, UNITS, width) for i in range(4)]
    for i in range(3):
        absent = "peephole" not in traits or i in skipped
        operands.append(-1 if absent else integers(build, "int16", 2.0**-15, UNITS))
    step = 2.0**-10 * 2.0**-15 if normed else 0.01 / 64
    biases = [-1 if i in skipped else integers(build, "int32", step, UNITS) for i in range(4)]
    operands += biases
    projected = "projection" in traits
    operands.append(integers(build, "int8", 0.008, SHOWN, UNITS) if projected else -1)
    operands.append(integers(build, "int32", 0.008 * 0.01, SHOWN) if projected else -1)
    final = scaled(0.01, 5)
    operands.append(build.tensor((BATCH, shown), "int8", is_variable=True, quantization=final))
    operands.append(build.tensor((BATCH, UNITS), "int16", is_variable=True, quantization=scaled(2.0**-11)))
    if normed:
        operands += [-1 if i in skipped else integers(build, "int16", 2.0**-15, UNITS) for i in range(4)]
    inner = [build.tensor((), "int16", quantization=scaled(2.0**-11)) for _ in range(4)]
    inner.append(build.tensor((), "int8", quantization=scaled(0.01, 5)))
    out = build.tensor((*shape[:-1], shown), "int8", quantization=final)
    table = "LSTMOptions" if single else "UnidirectionalSequenceLSTMOptions"
    build.op(name, operands, [out], table=table, **clips(traits))
    build.graph.operators[-1].intermediates = tuple(inner)
    return out


@pytest.mark.parametrize("name", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"])
@pytest.mark.parametrize(
    "traits",
    [
        "",
        "coupled",
        "peephole",
        "projection",
        "clip",
        "peephole projection clip",
        "norm",
        "coupled projection norm",
    ],
)
def test_integer_lstm(tmp_path: Path, name: str, traits: str) -> None:
    build = Builder()
    out = integer_lstm(build, name, traits)
    ((expected, got),) = both(build.save([out], tmp_path / "m.tflite"), build.feeds)
    assert expected.dtype == got.dtype
    assert len(np.unique(expected)) > 5
    assert np.abs(expected.astype(int) - got.astype(int)).max() <= 1


def plain_rnn(build: Builder, x: int, held: int) -> int:
    out = build.tensor((BATCH, WIDTH))
    operands = [build.const(random(*shape)) for shape in ((WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH,))]
    build.op("RNN", [x, *operands, held], [out], table="RNNOptions", fused_activation_function=4)
    return out


def declined(build: Builder, outs: list[int], path: Path) -> str:
    with pytest.raises(Declined) as caught:
        SOURCE.open(build.save(outs, path / "m.tflite"), OpenOptions())
    return str(caught.value)


def test_a_state_that_is_given_is_declined(tmp_path: Path) -> None:
    build = Builder()
    out = plain_rnn(build, build.input(random(BATCH, WIDTH)), build.input(random(BATCH, WIDTH)))
    assert "is given to the layer" in declined(build, [out], tmp_path)


def test_a_shared_state_is_declined(tmp_path: Path) -> None:
    build = Builder()
    held = state(build, WIDTH)
    out = plain_rnn(build, plain_rnn(build, build.input(random(BATCH, WIDTH)), held), held)
    assert "share the state" in declined(build, [out], tmp_path)


def test_a_state_inside_a_branch_is_declined(tmp_path: Path) -> None:
    build = Builder()
    chosen, x, main = build.input([True], "bool"), build.input(random(BATCH, WIDTH)), build.graph
    branch = build.subgraph()
    inner = build.tensor((BATCH, WIDTH))
    build.graph.inputs = (inner,)
    build.graph.outputs = (plain_rnn(build, inner, state(build, WIDTH)),)
    build.graph = main
    out = build.tensor((BATCH, WIDTH))
    fields = {"then_subgraph_index": branch, "else_subgraph_index": branch}
    build.op("IF", [chosen, x], [out], table="IfOptions", **fields)
    assert "may live on" in declined(build, [out], tmp_path)


@pytest.mark.parametrize("name", ["SVDF", "UNIDIRECTIONAL_SEQUENCE_RNN"])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_hybrid_layers(tmp_path: Path, name: str, asymmetric: bool) -> None:
    """As the hybrid LSTM."""
    build = Builder()
    if name == "SVDF":
        x = build.input(random(BATCH, WIDTH))
        operands = [x, matrix(build, True, 8, WIDTH), matrix(build, True, 8, 7), build.const(random(4))]
        operands.append(build.tensor((BATCH, 56), is_variable=True))
        out = build.tensor((BATCH, 4))
        build.op(name, operands, [out], table="SVDFOptions", rank=2, asymmetric_quantize_inputs=asymmetric)
    else:
        x = sequence(build, time_major=False)
        shapes = ((UNITS, WIDTH), (UNITS, UNITS))
        operands = [x, *(matrix(build, True, *shape) for shape in shapes), build.const(random(UNITS))]
        out = result(build, False, UNITS)
        build.op(
            name, [*operands, state(build, UNITS)], [out], table="SequenceRNNOptions",
            fused_activation_function=4, asymmetric_quantize_inputs=asymmetric,
        )  # fmt: skip
    same(build.save([out], tmp_path / "m.tflite"), build.feeds, 0.05)


@pytest.mark.parametrize("traits", ["", "projection clip"])
def test_unbound_batch(tmp_path: Path, traits: str) -> None:
    """LiteRT runs only as many rows as its state has; the reading takes each row by itself."""
    build = Builder()
    out = one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", traits, time_major=False)
    for index in (build.graph.inputs[0], out):
        record = build.graph.tensors[index]
        record.shape_signature = (-1, *record.shape[1:])
    path = build.save([out], tmp_path / "m.tflite")
    same(path, build.feeds)
    (whole,) = converted(path, build.feeds).values()
    (more,) = converted(path, {name: np.tile(x, (2, 1, 1)) for name, x in build.feeds.items()}).values()
    np.testing.assert_allclose(more, np.tile(whole, (2, 1, 1)), rtol=1e-6)


def test_half_weights(tmp_path: Path) -> None:
    build = Builder()
    x = sequence(build, time_major=False)
    wide = []
    for shape in [(UNITS, WIDTH)] * 4 + [(UNITS, UNITS)] * 4 + [(UNITS,)] * 4:
        half = build.const(random(*shape), "float16")
        wide.append(build.tensor(shape))
        build.op("DEQUANTIZE", [half], [wide[-1]], table="DequantizeOptions")
    held = [-1, -1, state(build, UNITS), state(build, UNITS)]
    out = result(build, False, UNITS)
    build.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *wide[:8], -1, -1, -1, *wide[8:], *held], [out],
        table="UnidirectionalSequenceLSTMOptions", **clips(""),
    )  # fmt: skip
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("place", [2, 3, 6, 13])
def test_weights_that_do_not_fit_are_declined(tmp_path: Path, place: int) -> None:
    build = Builder()
    out = one_way(build, "UNIDIRECTIONAL_SEQUENCE_LSTM", "", time_major=False)
    operator = build.graph.operators[-1]
    wrong = build.const(random(UNITS + 2, WIDTH) if place < 12 else random(UNITS + 2))
    operator.inputs = tuple(wrong if i == place else index for i, index in enumerate(operator.inputs))
    assert "fits the others" in declined(build, [out], tmp_path)
