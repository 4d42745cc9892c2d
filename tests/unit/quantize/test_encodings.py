"""Number formats against ONNX Runtime's QuantizeLinear, ONNX's reference evaluator, ml_dtypes, and brute force."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx.reference import ReferenceEvaluator

from bessemer.ir.encoding import Encoding
from bessemer.ir.errors import UsageError
from bessemer.ir.numbers import FLOAT8, integer_range
from bessemer.quantize.encodings import FORMATS, integer_format, number_format
from bessemer.quantize.encodings.base import Grain

INTEGERS = ("INT8", "UINT8", "INT16", "UINT16", "INT4", "UINT4")
GRAINS = (Grain(), Grain(0), Grain(1), Grain(0, 16), Grain(1, 16))


def q_dq(real: np.ndarray, encoding: Encoding) -> onnx.ModelProto:
    """real -> QuantizeLinear -> DequantizeLinear, as an ONNX file would say it."""
    helper, kind = onnx.helper, getattr(onnx.TensorProto, encoding.dtype)
    attributes = {} if encoding.axis is None else {"axis": encoding.axis}
    if encoding.block_size:
        attributes["block_size"] = encoding.block_size
    zeros = helper.make_tensor("z", kind, encoding.zero_point.shape, encoding.zero_point.reshape(-1).astype(np.float32)
                               if encoding.dtype in FLOAT8 else encoding.zero_point.reshape(-1))  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
    ]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, real.shape) for name in "xy"]
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [onnx.numpy_helper.from_array(encoding.scale, "s"), zeros]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12)


def drawn(shape: tuple[int, ...] = (37, 50), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * np.exp(rng.uniform(-3, 3, shape)) + 0.3).astype(np.float32)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("grain", GRAINS, ids=str)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_those_of_onnx_runtime(dtype: str, grain: Grain, symmetric: bool) -> None:
    real, form = drawn(), integer_format(dtype, symmetric=symmetric)
    encoding = form.fit(real, grain)
    codes = form.encode(real, encoding)
    session = onnxruntime.InferenceSession(q_dq(real, encoding).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(form.decode(codes, encoding), session.run(None, {"x": real})[0])
    half = encoding.spread(encoding.scale, real.shape) * 0.5001
    assert np.all(np.abs(form.decode(codes, encoding) - real) <= half + (0 if symmetric else half)), "more than a step"


WIDE = st.floats(-(2.0**126), 2.0**126, width=32) | st.floats(-8, 8, width=32)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float32, (4, 8), elements=WIDE), st.sampled_from((*INTEGERS, "INT2")), st.booleans(),
    st.sampled_from([Grain(), Grain(0), Grain(1), Grain(0, 2), Grain(1, 4)]), st.booleans(),
)  # fmt: skip
def test_codes_are_those_of_the_standard(
    real: np.ndarray, dtype: str, symmetric: bool, grain: Grain, power: bool
) -> None:
    """Bit by bit, ONNX's own evaluator and ONNX Runtime being the judges."""
    form = integer_format(dtype, symmetric=symmetric)
    encoding = form.fit(real, replace(grain, power_of_two=power))
    codes = form.encode(real, encoding)
    proto = q_dq(real, encoding)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("q", getattr(onnx.TensorProto, dtype), real.shape))
    standard, narrow = ReferenceEvaluator(proto).run(None, {"x": real})
    np.testing.assert_array_equal(codes, narrow.astype(codes.dtype))
    np.testing.assert_array_equal(form.decode(codes, encoding), standard)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(form.decode(codes, encoding), session.run(["y"], {"x": real})[0])


@settings(max_examples=100, deadline=None)
@given(st.floats(2.0**-80, 2.0**100), st.sampled_from((*INTEGERS, "INT2")), st.booleans())
def test_power_of_two_scales_are_the_next_ones_up(peak: float, dtype: str, symmetric: bool) -> None:
    real = np.array([-peak, peak / 3], np.float32)
    form = integer_format(dtype, symmetric=symmetric)
    plain, power = (float(form.fit(real, Grain(power_of_two=two)).scale) for two in (False, True))
    assert power == 2.0 ** math.ceil(math.log2(plain))
    assert math.log2(power) == int(math.log2(power))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16"])
def test_every_code_of_a_float_is_decoded_as_onnx_runtime_does(name: str) -> None:
    form, bits = number_format(name), 8 if "8_" in name else 16
    codes = np.arange(2**bits, dtype=f"uint{bits}")
    dtype = name_type(name) if bits == 8 else {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[name]
    mine = form.decode(codes.view(dtype), form.fit(np.full(1, 448 if "e4m3" in name else 57344, np.float32)))
    np.testing.assert_array_equal(mine, cast(codes.tobytes(), form.dtype, "FLOAT", codes.size))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, 64, elements=st.floats(width=32, allow_nan=False)), st.sampled_from(["float16", "bfloat16"]))
def test_halves_round_as_onnx_runtime_does(real: np.ndarray, name: str) -> None:
    form = number_format(name)
    want = cast(real.tobytes(), "FLOAT", form.dtype, real.size)
    np.testing.assert_array_equal(form.encode(real, form.fit(real)).view(np.uint16), want)


def cast(raw: bytes, source: str, target: str, size: int) -> np.ndarray:
    """ONNX Runtime's Cast of raw bytes."""
    helper, kinds = onnx.helper, onnx.TensorProto
    tensor = helper.make_tensor("c", getattr(kinds, source), [size], raw, raw=True)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["c"], ["y"], to=getattr(kinds, target))], "g", [],
        [helper.make_tensor_value_info("y", getattr(kinds, target), [size])], [tensor],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = session.run_with_ort_values(None, {})[0]
    return np.ctypeslib.as_array(
        ctypes.cast(made.data_ptr(), ctypes.POINTER(ctypes.c_uint8)), (size * width(target),)
    ).copy().view({"FLOAT": np.float32, "FLOAT16": np.uint16, "BFLOAT16": np.uint16}[target])


def width(kind: str) -> int:
    return 4 if kind == "FLOAT" else 2


@pytest.mark.parametrize("grain", [Grain(), Grain(1), Grain(1, 5)], ids=str)
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_is_that_of_the_reference_evaluator(name: str, grain: Grain) -> None:
    real, form = drawn(), number_format(name)
    encoding = form.fit(real * 0.7, grain)  # the largest numbers saturate
    codes = form.encode(real, encoding)
    want = ReferenceEvaluator(q_dq(real, encoding)).run(None, {"x": real})[0]
    np.testing.assert_array_equal(form.decode(codes, encoding), want)
    cast = np.clip(real / encoding.spread(encoding.scale, real.shape), *storage_limits(name)).astype(name_type(name))
    np.testing.assert_array_equal(codes.view(np.uint8), cast.view(np.uint8))


def name_type(name: str) -> type:
    return {"float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2}[name]


def storage_limits(name: str) -> tuple[float, float]:
    top = float(ml_dtypes.finfo(name_type(name)).max)
    return -top, top


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_keeps_nan_and_saturates_infinity(name: str) -> None:
    form = number_format(name)
    encoding = form.fit(np.ones(1, np.float32))
    back = form.decode(form.encode(np.array([np.nan, np.inf, -np.inf], np.float32), encoding), encoding)
    assert np.isnan(back[0]) and back[1] == -back[2] == pytest.approx(1)


@pytest.mark.parametrize(("name", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_halves_are_casts(name: str, dtype: type) -> None:
    real = np.concatenate([drawn().reshape(-1), np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e38, 1e-42], np.float32)])
    form = number_format(name)
    codes = form.encode(real, form.fit(real))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(codes.view(np.uint16), real.astype(dtype).view(np.uint16))
    np.testing.assert_array_equal(form.decode(codes, form.fit(real)), codes.astype(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_codes_come_back_as_themselves(name: str) -> None:
    form, real = number_format(name), drawn((8, 40))
    encoding = form.fit(real, Grain(0))
    codes = form.encode(real, encoding)
    again = form.encode(form.decode(codes, encoding), encoding)
    np.testing.assert_array_equal(again.view(f"u{codes.itemsize}"), codes.view(f"u{codes.itemsize}"))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from((*INTEGERS, "INT2")), st.booleans(), st.integers(1, 70), st.integers(0, 40), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_blocks_of_any_size_bound_the_error(
    dtype: str, symmetric: bool, size: int, block: int, power: bool, seed: int
) -> None:
    real = drawn((3, size), seed)
    form, grain = integer_format(dtype, symmetric=symmetric), Grain(1, block, power)
    encoding = form.fit(real, grain)
    codes = form.encode(real, encoding)
    step = encoding.spread(encoding.scale, real.shape)
    assert codes.min() >= integer_range(dtype)[0] and codes.max() <= integer_range(dtype)[1]
    digits = 2.0**-22 * integer_range(dtype)[1]  # of float32 itself, in steps
    assert np.all(np.abs(form.decode(codes, encoding) - real) <= step * ((0.501 if symmetric else 1.001) + digits))
    assert encoding.scale.shape == ((3, -(-size // block)) if block else (size,))
    np.testing.assert_array_equal(form.encode(form.decode(codes, encoding), encoding), codes)
    if power:
        assert np.all(np.frexp(encoding.scale)[0] == 0.5)


def test_far_numbers_saturate() -> None:
    for dtype in INTEGERS:
        form = integer_format(dtype, symmetric=True)
        encoding = form.fit(np.array([-1, 1], np.float32))
        low, high = integer_range(dtype)
        np.testing.assert_array_equal(form.encode(np.array([-1e9, 1e9], np.float32), encoding), [low, high])


def test_binary_scale_is_the_best() -> None:
    real, form = drawn((5, 64)), number_format("binary")
    encoding = form.fit(real, Grain(0))
    signs = form.encode(real, encoding)
    assert set(np.unique(signs)) == {-1, 1}
    best = (real * signs).sum(1) / 64  # least squares in closed form
    np.testing.assert_allclose(encoding.scale, best, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (3, 12), elements=st.floats(-8, 8, width=32)), st.sampled_from(["binary", "ternary"]))
def test_binary_and_ternary_codes_are_the_nearest_there_are(real: np.ndarray, name: str) -> None:
    form, choices = number_format(name), np.array([-1, 1] if name == "binary" else [-1, 0, 1])
    for grain in (Grain(), Grain(0), Grain(1, 4)):
        encoding = form.fit(real, grain)
        codes = form.encode(real, encoding)
        scale = encoding.spread(encoding.scale, real.shape)
        best = np.abs(choices * scale[..., None] - real[..., None]).min(-1)
        np.testing.assert_allclose(np.abs(form.decode(codes, encoding) - real), best, rtol=1e-5, atol=1e-6)


def test_ternary_beats_two_bits_by_extremes_and_comes_near_brute_force() -> None:
    real = np.random.default_rng(3).standard_normal((4, 256)).astype(np.float32)
    form = number_format("ternary")
    encoding = form.fit(real, Grain(0))
    error = np.sum((form.decode(form.encode(real, encoding), encoding) - real) ** 2, 1)
    plain = number_format("int2").fit(real, Grain(0))
    assert np.all(error < np.sum((plain.dequantize(form.encode(real, plain)) - real) ** 2, 1))
    for row, mine in zip(real, error, strict=True):
        trials = [np.sum((np.clip(np.rint(row / s), -1, 1) * s - row) ** 2) for s in np.linspace(0.3, 3, 200)]
        assert mine < 1.1 * min(trials)


def test_listing_formats_imports_no_numpy() -> None:
    code = "import sys, bessemer.quantize.encodings as e; e.FORMATS; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_format_is_named() -> None:
    with pytest.raises(UsageError, match="int3"):
        number_format("int3")
