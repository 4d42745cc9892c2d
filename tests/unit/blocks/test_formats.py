"""Number formats but the k-quants against ggml's own encoder and decoder, bit for bit, and the `gguf` package's decoder."""

from __future__ import annotations

from collections.abc import Iterator

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bessemer.blocks import codec, codecs, decoded, encoded
from bessemer.blocks.sound import fault
from bessemer.runners.llama.ggml import dequantized, quantized
from bessemer.runners.llama.place import available
from bessemer.wire.gguf.types import BY_NAME

Floats = npt.NDArray[np.float32]

ENCODED = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q1_0", "Q2_0", "IQ4_NL", "IQ4_XS", "TQ1_0",
           "TQ2_0", "MXFP4", "NVFP4")  # fmt: skip
K_QUANTS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
PLAIN = ("F64", "I8", "I16", "I32", "I64")
COLUMNS = 512
needs_ggml = pytest.mark.skipif(not available(), reason="no llama.cpp is installed")


def _weights() -> Iterator[tuple[str, Floats]]:
    draw = np.random.default_rng(11)

    def normal(rows: int = 19, scale: float = 1.0) -> Floats:
        return (draw.standard_normal((rows, COLUMNS)) * scale).astype(np.float32)

    yield "usual", normal()
    yield "as in a model", normal(scale=0.02)
    yield "from bfloat16", (normal().view(np.uint32) & 0xFFFF0000).view(np.float32)
    yield "zeros", np.zeros((1, COLUMNS), np.float32)
    yield "zeros of both signs", np.where(draw.random((9, COLUMNS)) < 0.5, np.float32(-0.0), np.float32(0.0))
    for constant in (0.37, -0.37, 1e-40, -3e4):
        yield f"all {constant}", np.full((1, COLUMNS), constant, np.float32)
    for power in (-44, -41, -38, -16, -15, -14, -5, 3, 4, 20):
        yield f"about 1e{power}", (normal(7).astype(np.float64) * 10.0**power).astype(np.float32)
    yield "whole numbers", draw.integers(-8, 8, (19, COLUMNS)).astype(np.float32)
    yield "ties", (draw.integers(-254, 254, (19, COLUMNS)) / 2).astype(np.float32)
    yield "ternary", draw.integers(-1, 2, (9, COLUMNS)).astype(np.float32)
    yield "one size", np.sign(normal(5))
    yield "mostly zeros", normal() * (draw.random((19, COLUMNS)) < 0.05)
    yield "rows of many sizes", (normal() * 10.0 ** draw.uniform(-20, 3, (19, COLUMNS))).astype(np.float32)
    below = 1 - draw.integers(0, 9, (19, COLUMNS)) * 2.0**-24
    yield "just below powers of two", (2.0 ** draw.integers(-20, 10, (19, COLUMNS)) * below).astype(np.float32)


def _importances() -> Iterator[Floats | None]:
    draw = np.random.default_rng(12)
    yield None
    yield draw.random(COLUMNS, np.float32) ** 2
    yield (draw.random(COLUMNS) < 0.3).astype(np.float32)
    yield np.zeros(COLUMNS, np.float32)


def _same(got: Floats, wanted: Floats, what: str = "") -> None:
    """Equal bits, but that any NaN equals any other."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), what)
    held = ~np.isnan(wanted)
    np.testing.assert_array_equal(got.view(np.uint32)[held], wanted.view(np.uint32)[held], what)


@needs_ggml
@pytest.mark.parametrize("name", ENCODED)
def test_bytes_are_those_of_ggml(name: str) -> None:
    for what, weights in _weights():
        for importance in _importances():
            got, wanted = encoded(weights, name, importance), quantized(weights, name, importance)
            np.testing.assert_array_equal(got, wanted, what)


_numbers = st.floats(-1e4, 1e4, width=16) | st.floats(-(2.0**60), 2.0**60, width=32)
_blocks = hnp.arrays(np.float32, (1, 256), elements=_numbers, fill=_numbers)
_weight = hnp.arrays(np.float32, 256, elements=st.floats(0, 1024, width=32), fill=st.floats(0, 1, width=16))


@needs_ggml
@pytest.mark.parametrize("name", ENCODED)
@settings(max_examples=40)
@given(weights=_blocks, importance=st.none() | _weight)
def test_any_weights_give_the_bytes_of_ggml(name: str, weights: Floats, importance: Floats | None) -> None:
    np.testing.assert_array_equal(encoded(weights, name, importance), quantized(weights, name, importance))


@needs_ggml
@pytest.mark.parametrize("name", [name for name in codecs() if name not in (*PLAIN, "Q8_1", "Q8_K")])
def test_any_bytes_mean_what_they_mean_to_ggml(name: str) -> None:
    data = np.random.default_rng(13).integers(0, 256, (50, BY_NAME[name].row_bytes(COLUMNS)), dtype=np.uint8)
    _same(decoded(data, name), dequantized(data, name))


@pytest.mark.parametrize("name", [name for name in codecs() if name not in ("Q1_0", "Q2_0", "Q8_1", "Q8_K", *PLAIN)])
def test_any_bytes_mean_what_they_mean_to_the_gguf_package(name: str) -> None:
    if name in ("NVFP4",) and not hasattr(gguf.GGMLQuantizationType, name):
        pytest.skip("this release of the package does not know it")
    data = np.random.default_rng(14).integers(0, 256, (20, BY_NAME[name].row_bytes(COLUMNS)), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
    got = decoded(data, name)
    np.testing.assert_array_equal(got, wanted.reshape(got.shape))


def test_q8_k_means_quants_times_scale() -> None:
    """It lives in memory alone: ggml lists no decoder. A float32 scale, 256 quants, sums."""
    data = np.random.default_rng(15).integers(0, 256, (20, 292), dtype=np.uint8)
    data[:, 3] &= 0x3F  # a finite scale
    scales = data[:, :4].copy().view(np.float32)
    np.testing.assert_array_equal(decoded(data, "Q8_K"), data[:, 4:260].view(np.int8) * scales)


def test_q8_1_means_quants_times_scale() -> None:
    """As Q8_K: d is a float16, the sum beside it is not needed."""
    data = np.random.default_rng(15).integers(0, 256, (20, 36), dtype=np.uint8)
    data[:, 1] &= 0x3B  # a finite scale
    scales = data[:, :2].copy().view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(decoded(data, "Q8_1"), data[:, 4:].view(np.int8) * scales)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_numbers(name: str) -> None:
    kind = {"F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}[name]
    held = (np.random.default_rng(16).standard_normal((3, 7)) * 100).astype(kind)
    np.testing.assert_array_equal(decoded(held.view(np.uint8), name), held.astype(np.float32))


@needs_ggml
@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_halves_of_all_bit_patterns(name: str) -> None:
    """Every 16-bit number is decoded; every upper half with the lower halves where rounding turns is encoded: NaN, too."""
    held = np.arange(1 << 16, dtype=np.uint16)[None]
    np.testing.assert_array_equal(decoded(held.view(np.uint8), name).view(np.uint32),
                                  dequantized(held.view(np.uint8), name).view(np.uint32))  # fmt: skip
    lower = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    weights = (held[0].astype(np.uint32)[:, None] << 16 | lower).view(np.float32).reshape(1, -1)
    np.testing.assert_array_equal(encoded(weights, name), quantized(weights, name))


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_rows_of_any_length(name: str) -> None:
    """Rows that no 16 fill, and arrays that do not lie in one piece."""
    weights = np.random.default_rng(17).standard_normal((10, 46)).astype(np.float32)[::2, ::2]
    whole = encoded(np.ascontiguousarray(weights), name)
    np.testing.assert_array_equal(encoded(weights, name), whole)
    np.testing.assert_allclose(decoded(whole, name), weights, rtol=2.0**-8)
    with pytest.raises(ValueError, match="one piece"):
        codec(name).encode(weights, None, np.empty((5, 200), np.uint8)[:, : whole.shape[1]])  # type: ignore[misc]


@pytest.mark.parametrize("name", [name for name in ENCODED if BY_NAME[name].elements > 1])
def test_what_blocks_cannot_hold_is_named(name: str) -> None:
    weights = np.random.default_rng(18).standard_normal((4, 256)).astype(np.float32)
    assert fault(weights, encoded(weights, name), name) == ""
    for bad in (np.nan, np.inf, -np.inf):
        weights[2, 77] = bad
        assert "infinite or not a number" in fault(weights, encoded(weights, name), name)


@needs_ggml
@pytest.mark.parametrize("name", [*("Q4_0", "Q4_1", "Q8_0", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0"), *K_QUANTS])
def test_weights_beyond_the_scales_are_named(name: str) -> None:
    weights = np.full((2, 256), 1e12, np.float32)
    weights[:, ::2] *= -1
    assert "beyond the half-precision scales" in fault(weights, quantized(weights, name), name)
    weights *= np.float32(1e-12)
    assert fault(weights, quantized(weights, name), name) == ""


def test_half_numbers_carry_infinities() -> None:
    weights = np.array([[np.inf, -np.inf, np.nan]], np.float32)
    for name in ("F16", "BF16"):
        assert fault(weights, encoded(weights, name), name) == ""
        assert decoded(encoded(weights, name), name)[0, :2].tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(("name", "last"), [("F16", 0x477FEFFF), ("BF16", 0x7F7F7FFF)])
def test_numbers_that_16_bits_would_make_infinite_are_named(name: str, last: int) -> None:
    weights = np.full((1, 40), last, np.uint32).view(np.float32)
    assert fault(weights, encoded(weights, name), name) == ""
    assert np.isfinite(decoded(encoded(weights, name), name)).all()
    weights[0, 35] = np.nextafter(weights[0, 35], np.float32(np.inf))
    assert np.isinf(decoded(encoded(weights, name), name)[0, 35])
    assert "become infinite" in fault(weights, encoded(weights, name), name)


def test_a_scale_that_means_no_number_is_named() -> None:
    weights = np.full((1, 32), 2.0**-126, np.float32)
    assert "no scale" in fault(weights, encoded(weights, "MXFP4"), "MXFP4")


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ1_M", "Q8_K", "I32"])
def test_what_has_no_encoder_says_so(name: str) -> None:
    with pytest.raises(ValueError, match="decoded, not encoded"):
        encoded(np.zeros((1, 256), np.float32), name)


def test_importance_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encoded(np.zeros((1, 256), np.float32), "Q4_0", np.ones(255, np.float32))
