"""DFT and STFT as products and convolutions, against numpy and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, execute, prepare, random, save, tensor

from bessemer.ir.errors import Declined

pytest.importorskip("ai_edge_litert")


def constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def transform(path: Path, shape: tuple[int | str, ...], axis: int, out: tuple[int | str, ...], **attributes: int) -> Path:
    node = helper.make_node("DFT", ["x", "", "axis"], ["y"], **attributes)
    return save(path, [node], [tensor("x", *shape)], [tensor("y", *out)], [constant("axis", np.int64(axis))])


@pytest.mark.parametrize("size", [1, 2, 15, 16, 400])
def test_a_spectrum_of_real_numbers_is_numpy_s(tmp_path: Path, size: int) -> None:
    x = random(2, size, 1)
    path = transform(tmp_path / "m.onnx", (2, size, 1), 1, (2, size // 2 + 1, 2), onesided=1)
    got = execute(prepare(path), tmp_path, {"x": x})["y"]
    want = np.fft.rfft(x[..., 0])
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("axis", [1, 2])
def test_complex_transforms_along_any_axis(tmp_path: Path, axis: int, inverse: int) -> None:
    x = random(2, 6, 9, 2)
    path = transform(tmp_path / "m.onnx", ("N", 6, 9, 2), axis, ("N", 6, 9, 2), inverse=inverse)
    got = execute(prepare(path), tmp_path, {"x": x})["y"]
    want = (np.fft.ifft if inverse else np.fft.fft)(x[..., 0] + 1j * x[..., 1], axis=axis)
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], want, atol=1e-4)


@pytest.mark.parametrize("points", [8, 9, 20])
def test_a_length_of_its_own_pads_or_cuts(tmp_path: Path, points: int) -> None:
    x, held = random(2, 12, 1), [constant("axis", np.int64(1)), constant("length", np.int64(points))]
    node = helper.make_node("DFT", ["x", "length", "axis"], ["y"], onesided=1)
    path = save(tmp_path / "m.onnx", [node], [tensor("x", 2, 12, 1)], [tensor("y", 2, points // 2 + 1, 2)], held)
    got = execute(prepare(path), tmp_path, {"x": x})["y"]
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], np.fft.rfft(x[..., 0], points), atol=1e-4)


def test_half_a_spectrum_goes_back(tmp_path: Path) -> None:
    spectrum = np.fft.rfft(random(3, 14))
    x = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)
    path = transform(tmp_path / "m.onnx", (3, 8, 2), 1, (3, 14, 1), onesided=1, inverse=1)
    got = execute(prepare(path), tmp_path, {"x": x})["y"]
    np.testing.assert_allclose(got[..., 0], np.fft.irfft(spectrum), atol=1e-5)


def test_an_axis_of_unknown_size_is_declined_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Declined, match="known size"):
        prepare(transform(tmp_path / "m.onnx", (2, "L", 1), 1, (2, "B", 2), onesided=1))


@pytest.mark.parametrize("signal", [(2, 80, 1), (2, 80), ("N", 80, 1), (1, "L", 1)])
@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [False, True])
def test_short_time_transforms(tmp_path: Path, signal: tuple[Any, ...], onesided: int, windowed: bool) -> None:
    held = [constant("step", np.int64(6)), constant("window", np.hanning(16).astype(np.float32))]
    held += [constant("length", np.int64(16))]
    node = helper.make_node("STFT", ["x", "step", "window" if windowed else "", "length"], ["y"], onesided=onesided)
    outputs = [tensor("y", signal[0], "F", 9 if onesided else 16, 2)]
    path = save(tmp_path / "m.onnx", [node], [tensor("x", *signal)], outputs, held)
    fed = random(*(dim if isinstance(dim, int) else 80 if dim == "L" else 3 for dim in signal))
    prepared = agree(path, tmp_path, {"x": fed})
    assert prepared.operators["CONV_2D"] == 1
