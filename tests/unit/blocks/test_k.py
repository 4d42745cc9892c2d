"""k-quants against ggml's own encoder and decoder, bit for bit, and against the `gguf` package's decoder."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bessemer.blocks import codec, decoded, encoded
from bessemer.blocks.sound import fault
from bessemer.runners.llama.ggml import dequantized, quantized
from bessemer.runners.llama.place import available
from bessemer.wire.gguf.types import BY_NAME

Floats = npt.NDArray[np.float32]

FORMATS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
COLUMNS = 512
needs_ggml = pytest.mark.skipif(not available(), reason="no llama.cpp is installed")


def _weights() -> Iterator[tuple[str, Floats]]:
    """Rows that are usual, and rows at every edge that the searches have."""
    draw = np.random.default_rng(5)

    def normal(scale: float = 1.0) -> Floats:
        return (draw.standard_normal((37, COLUMNS)) * scale).astype(np.float32)

    yield "as in a model", normal(0.02)
    yield "zeros", np.zeros((3, COLUMNS), np.float32)
    yield "negative zeros", -np.zeros((3, COLUMNS), np.float32)
    for power in (-45, -44, -40, -38, -30, -20, -16, -15, -14, -10, -5, 5, 10, 18, 20, 30):
        yield f"about 1e{power}", (normal().astype(np.float64) * 10.0**power).astype(np.float32)
    yield "mostly zeros", normal() * (draw.random((37, COLUMNS)) < 0.05)
    yield "half of them negative zeros", np.where(draw.random((37, COLUMNS)) < 0.5, np.float32(-0.0), normal())
    yield "constant rows", np.repeat(normal()[:, :1], COLUMNS, 1)
    yield "constant stretches", np.repeat(normal()[:, :64], 8, 1)
    yield "negative", -abs(normal())
    yield "positive", abs(normal())
    yield "far from zero", normal(0.001) + 5
    yield "far below zero", normal(0.001) - 5
    yield "outliers", normal() * np.where(np.arange(COLUMNS) % 37, np.float32(1), np.float32(1e4))
    yield "blocks of many sizes", normal() * np.repeat(10.0 ** draw.integers(-8, 8, (37, 32)), 16, 1).astype(np.float32)
    yield "whole numbers", draw.integers(-8, 8, (37, COLUMNS)).astype(np.float32)
    yield "ties", (draw.integers(-32, 32, (37, COLUMNS)) / 2).astype(np.float32)
    yield "a ramp", np.linspace(-1, 1, 37 * COLUMNS, dtype=np.float32).reshape(37, COLUMNS)
    any_bits = draw.integers(0, 2**32, (99, COLUMNS), dtype=np.uint32).view(np.float32)
    yield "any bits", np.where(abs(any_bits) < 1e30, any_bits, np.float32(0))


def _importances() -> Iterator[Floats | None]:
    draw = np.random.default_rng(6)
    yield None
    yield draw.random(COLUMNS, np.float32) ** 2
    yield (draw.random(COLUMNS) < 0.3).astype(np.float32)
    yield np.zeros(COLUMNS, np.float32)
    yield draw.random(COLUMNS, np.float32) * np.float32(1e-30)


@needs_ggml
@pytest.mark.parametrize("name", FORMATS)
def test_bytes_and_weights_are_those_of_ggml(name: str) -> None:
    for what, weights in _weights():
        for importance in _importances():
            wanted = quantized(weights, name, importance)
            np.testing.assert_array_equal(encoded(weights, name, importance), wanted, what)
            back = decoded(wanted, name)
            np.testing.assert_array_equal(back.view(np.uint32), dequantized(wanted, name).view(np.uint32), what)
            assert bool(fault(weights, wanted, name)) != bool(np.isfinite(back).all()), what


_numbers = st.floats(-(2.0**100), 2.0**100, width=32)
_any = hnp.arrays(np.float32, (1, 256), elements=_numbers, fill=_numbers)
_few = hnp.arrays(np.float32, (1, 256), elements=st.floats(-1, 1, width=16), fill=st.floats(-1, 1, width=16))
_weight = hnp.arrays(np.float32, 256, elements=st.floats(0, 1024, width=32), fill=st.floats(0, 1, width=16))


@needs_ggml
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100)
@given(weights=_any | _few, importance=st.none() | _weight)
def test_any_weights_give_the_bytes_of_ggml(name: str, weights: Floats, importance: Floats | None) -> None:
    np.testing.assert_array_equal(encoded(weights, name, importance), quantized(weights, name, importance))


@pytest.mark.parametrize("name", FORMATS)
def test_any_bytes_are_decoded_as_the_gguf_package_does(name: str) -> None:
    kind = BY_NAME[name]
    data = np.random.default_rng(7).integers(0, 256, (50, 3 * kind.bytes), dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        wanted = gguf.dequantize(data, gguf.GGMLQuantizationType(kind.id))
    np.testing.assert_array_equal(decoded(data, name), wanted)


@pytest.mark.parametrize("name", FORMATS)
def test_the_error_is_within_the_formats_step(name: str) -> None:
    """Independent of ggml: levels of n bits over a block of normal weights cannot be further off than this."""
    weights = np.random.default_rng(8).standard_normal((16, 1024)).astype(np.float32)
    off = decoded(encoded(weights, name), name) - weights
    bound = {"Q2_K": 0.32, "Q3_K": 0.17, "Q4_K": 0.08, "Q5_K": 0.04, "Q6_K": 0.022}[name]
    assert bound / 2 < np.sqrt(np.mean(off**2)) < bound


_ELSEWHERE = """
import sys, numpy as np
from bessemer.blocks import encoded
np.save(sys.argv[2], encoded(np.load(sys.argv[1]), "Q3_K"))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of one family")
def test_a_processor_without_wide_registers_gives_the_same_bytes(tmp_path: Path) -> None:
    """Kernels compiled for SSE2 alone, in another process: neither width nor fused operations may show."""
    weights = np.concatenate([held for _, held in _weights()])
    np.save(tmp_path / "in.npy", weights)
    env = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", _ELSEWHERE, str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run(command, env=env, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), encoded(weights, "Q3_K"))


def test_what_cannot_be_done_is_refused() -> None:
    weights = np.ones((2, 256), np.float32)
    encode = codec("Q4_K").encode
    assert encode is not None
    with pytest.raises(ValueError, match="no multiple"):
        encoded(weights[:, :255], "Q4_K")
    with pytest.raises(ValueError, match="no multiple"):
        decoded(np.zeros((2, 143), np.uint8), "Q4_K")
    with pytest.raises(ValueError, match="importance"):
        encoded(weights, "Q4_K", np.ones(512, np.float32))
    with pytest.raises(ValueError, match="one piece"):
        encode(weights, None, np.empty((4, 144), np.uint8)[::2])
