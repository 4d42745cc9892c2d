"""How tensors may be stored (narrow, wide, sparse, half) and files with several entry points, against LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Array, Builder, both, converted, same, scaled

from bessemer.ir.errors import UsageError
from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE
from bessemer.wire.tflite.records import (
    DimensionMetadata,
    Options,
    QuantizationParameters,
    SignatureDef,
    SparsityParameters,
    TensorMap,
)

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(13)


@pytest.fixture(autouse=True)
def same_numbers_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever tests ran before."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(13))


def within_a_step(build: Builder, out: int, path: Path) -> None:
    """Integer results may be rounded to the neighbour, and do not all agree by being alike."""
    ((expected, got),) = both(build.save([out], path / "m.tflite"), build.feeds)
    assert expected.dtype == got.dtype
    assert len(np.unique(expected)) > 3
    assert np.abs(expected.astype(int) - got.astype(int)).max() <= 1


def dense(build: Builder, operands: list[int], out: int, sums: int = 0) -> None:
    build.op("FULLY_CONNECTED", operands, [out], table="FullyConnectedOptions", quantized_bias_type=sums)


@pytest.mark.parametrize("depth", [6, 7])
def test_int4_weights(tmp_path: Path, depth: int) -> None:
    build = Builder()
    x = build.input(RNG.integers(-128, 128, (2, depth)), "int8", quantization=scaled(0.05, 3))
    weights = build.const(RNG.integers(-7, 8, (5, depth)), "int4", quantization=scaled(0.1))
    bias = build.const(RNG.integers(-400, 400, 5), "int32", quantization=scaled(0.005))
    out = build.tensor((2, 5), "int8", quantization=scaled(0.1, -4))
    dense(build, [x, weights, bias], out)
    within_a_step(build, out, tmp_path)


def test_int4_weights_per_channel(tmp_path: Path) -> None:
    build = Builder()
    x = build.input(RNG.integers(-128, 128, (1, 5, 5, 3)), "int8", quantization=scaled(0.05, 3))
    scales = tuple(0.02 * (1 + i) for i in range(4))
    steps = QuantizationParameters(scale=scales, zero_point=(0,) * 4)
    weights = build.const(RNG.integers(-7, 8, (4, 3, 3, 3)), "int4", quantization=steps)
    sums = QuantizationParameters(scale=tuple(0.05 * s for s in scales), zero_point=(0,) * 4)
    bias = build.const(RNG.integers(-400, 400, 4), "int32", quantization=sums)
    out = build.tensor((1, 3, 3, 4), "int8", quantization=scaled(0.3, -4))
    build.op("CONV_2D", [x, weights, bias], [out], table="Conv2DOptions", padding=1, stride_w=1, stride_h=1)
    within_a_step(build, out, tmp_path)


@pytest.mark.parametrize("bias", ["int32", "int64"])
def test_int16_activations(tmp_path: Path, bias: str) -> None:
    build = Builder()
    x = build.input(RNG.integers(-32767, 32768, (2, 6)), "int16", quantization=scaled(2e-4))
    weights = build.const(RNG.integers(-127, 128, (5, 6)), "int8", quantization=scaled(0.01))
    sums = build.const(RNG.integers(-4000, 4000, 5), bias, quantization=scaled(2e-6))
    out = build.tensor((2, 5), "int16", quantization=scaled(1e-3))
    dense(build, [x, weights, sums], out, {"int32": 2, "int64": 4}[bias])
    within_a_step(build, out, tmp_path)


@pytest.mark.parametrize("name", ["ADD", "MUL", "LOGISTIC", "TANH", "SOFTMAX"])
def test_int16_elementwise(tmp_path: Path, name: str) -> None:
    build = Builder()
    x = build.input(RNG.integers(-32767, 32768, (4, 6)), "int16", quantization=scaled(2e-4))
    step = 2.0**-15 if name in ("LOGISTIC", "TANH", "SOFTMAX") else 2e-3
    out = build.tensor((4, 6), "int16", quantization=scaled(step))
    operands = [x, x] if name in ("ADD", "MUL") else [x]
    table = {"ADD": "AddOptions", "MUL": "MulOptions", "SOFTMAX": "SoftmaxOptions"}.get(name, "")
    fields = {"ADD": {"pot_scale_int16": False}, "SOFTMAX": {"beta": 1.0}}.get(name, {})
    build.op(name, operands, [out], table=table, **fields)
    ((expected, got),) = both(build.save([out], tmp_path / "m.tflite"), build.feeds)
    # LiteRT looks such functions up in tables of 513 entries.
    limit = 4 if name in ("LOGISTIC", "TANH", "SOFTMAX") else 1
    assert np.abs(expected.astype(int) - got.astype(int)).max() <= limit


def numbers(values: list[int]) -> Options:
    return Options("Int32Vector", {"values": tuple(values)})


def by_rows(table: Array) -> tuple[SparsityParameters, Array]:
    """Rows dense, columns listed where they are not zero."""
    rows, columns = np.nonzero(table)
    segments = [int((rows < row).sum()) for row in range(len(table) + 1)]
    levels = [
        DimensionMetadata(format=0, dense_size=len(table)),
        DimensionMetadata(
            format=1, array_segments=numbers(segments), array_indices=numbers([int(c) for c in columns])
        ),
    ]
    return SparsityParameters(traversal_order=(0, 1), dim_metadata=levels), table[rows, columns]


def sparse_table() -> Array:
    table = RNG.normal(size=(5, 8)).astype(np.float32)
    return np.where(RNG.random((5, 8)) < 0.6, np.float32(0), table)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_sparse_weights_made_dense(tmp_path: Path, dtype: str) -> None:
    build = Builder()
    x = build.input(RNG.random((2, 8)))
    sparsity, stored = by_rows(sparse_table())
    weights = build.tensor((5, 8), dtype, stored.astype(dtype), sparsity=sparsity)
    made = build.tensor((5, 8), dtype)
    build.op("DENSIFY", [weights], [made], table="DensifyOptions")
    if dtype == "float16":
        half, made = made, build.tensor((5, 8))
        build.op("DEQUANTIZE", [half], [made], table="DequantizeOptions")
    out = build.tensor((2, 5))
    dense(build, [x, made, build.const(RNG.random(5))], out)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_sparse_weights_in_place(tmp_path: Path) -> None:
    build = Builder()
    x = build.input(RNG.random((2, 8)))
    sparsity, stored = by_rows(sparse_table())
    weights = build.tensor((5, 8), "float32", stored, sparsity=sparsity)
    out = build.tensor((2, 5))
    dense(build, [x, weights, build.const(RNG.random(5))], out)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def test_sparse_blocks(tmp_path: Path) -> None:
    """Blocks of 1 x 4, as converters store them for the CPU."""
    table = sparse_table()
    blocks = table.reshape(5, 2, 4)
    blocks[RNG.random((5, 2)) < 0.4] = 0
    rows, columns = np.nonzero(blocks.any(axis=2))
    segments = [int((rows < row).sum()) for row in range(6)]
    levels = [
        DimensionMetadata(format=0, dense_size=5),
        DimensionMetadata(
            format=1, array_segments=numbers(segments), array_indices=numbers([int(c) for c in columns])
        ),
        DimensionMetadata(format=0, dense_size=4),
    ]
    sparsity = SparsityParameters(traversal_order=(0, 1, 2), block_map=(1,), dim_metadata=levels)
    build = Builder()
    x = build.input(RNG.random((2, 8)))
    weights = build.tensor((5, 8), "float32", blocks[rows, columns], sparsity=sparsity)
    out = build.tensor((2, 5))
    dense(build, [x, weights, build.const(RNG.random(5))], out)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


@pytest.mark.parametrize("name", ["CONV_2D", "FULLY_CONNECTED"])
def test_float16_weights(tmp_path: Path, name: str) -> None:
    build = Builder()
    image = name == "CONV_2D"
    x = build.input(RNG.random((1, 4, 4, 3) if image else (2, 6)))
    shapes = [(5, 3, 3, 3) if image else (5, 6), (5,)]
    wide = []
    for shape in shapes:
        half = build.const(RNG.normal(size=shape), "float16")
        wide.append(build.tensor(shape))
        build.op("DEQUANTIZE", [half], [wide[-1]], table="DequantizeOptions")
    out = build.tensor((1, 4, 4, 5) if image else (2, 5))
    if image:
        build.op("CONV_2D", [x, *wide], [out], table="Conv2DOptions", stride_w=1, stride_h=1)
    else:
        dense(build, [x, *wide], out)
    same(build.save([out], tmp_path / "m.tflite"), build.feeds)


def entry(build: Builder, key: str, kind: str, shared: Array) -> SignatureDef:
    """A subgraph that combines x with constants of a buffer both entry points share."""
    x, out = build.tensor(shared.shape), build.tensor(shared.shape)
    weights = build.tensor(shared.shape)
    build.graph.tensors[weights].buffer = 1
    build.op(kind, [x, weights], [out], table={"ADD": "AddOptions", "MUL": "MulOptions"}[kind])
    build.graph.inputs, build.graph.outputs = (x,), (out,)
    number = build.model.subgraphs.index(build.graph)
    return SignatureDef([TensorMap("x", x)], [TensorMap(f"{key}_y", out)], key, number)


def two_entries(path: Path) -> tuple[Path, dict[str, Array]]:
    build, shared = Builder(), RNG.random((2, 3)).astype(np.float32)
    build.const(shared)
    first = entry(build, "raise", "ADD", shared)
    outputs = list(build.graph.outputs)
    main = build.graph
    build.subgraph()
    build.model.signature_defs = [first, entry(build, "scale", "MUL", shared)]
    build.graph = main
    return build.save(outputs, path / "m.tflite"), {"x": RNG.random((2, 3)).astype(np.float32)}


@pytest.mark.parametrize("key", [None, "raise", "scale"])
def test_several_signatures(tmp_path: Path, key: str | None) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path, feeds = two_entries(tmp_path)
    expected = Interpreter(model_path=str(path)).get_signature_runner(key or "raise")(**feeds)
    got = converted(path, feeds, key)
    assert list(got) == list(expected)
    for name, held in expected.items():
        np.testing.assert_allclose(got[name], held, rtol=1e-6)


def test_unknown_signature_names_the_known_ones(tmp_path: Path) -> None:
    path, _ = two_entries(tmp_path)
    with pytest.raises(UsageError, match="raise, scale"):
        SOURCE.open(path, OpenOptions(signature="lower"))
