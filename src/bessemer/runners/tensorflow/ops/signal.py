"""Fourier transforms and audio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.registry import evaluates
from bessemer.wire.savedmodel.node import Node


def _narrow(made: Any, like: Array) -> Array:
    """float64's results in the type that goes with the operand's."""
    double = like.dtype in (np.dtype(np.float64), np.dtype(np.complex128))
    kind = ("complex128" if double else "complex64") if np.iscomplexobj(made) else ("float64" if double else "float32")
    return np.asarray(made).astype(kind)


@evaluates("RFFT", "RFFT2D", "RFFT3D")
def rfft(node: Node, inputs: Sequence[Array]) -> Array:
    """Of reals over the last axes."""
    lengths = [int(item) for item in inputs[1]]
    return _narrow(np.fft.rfftn(inputs[0], lengths, axes=list(range(-len(lengths), 0))), inputs[0])


@evaluates("IRFFT", "IRFFT2D", "IRFFT3D")
def irfft(node: Node, inputs: Sequence[Array]) -> Array:
    """Reals again."""
    lengths = [int(item) for item in inputs[1]]
    return _narrow(np.fft.irfftn(inputs[0], lengths, axes=list(range(-len(lengths), 0))), inputs[0])


@evaluates("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")
def fft(node: Node, inputs: Sequence[Array]) -> Array:
    """Of complex numbers over the last axes."""
    count = int(node.op[-2]) if node.op.endswith("D") else 1
    transform = np.fft.ifftn if node.op.startswith("I") else np.fft.fftn
    return _narrow(transform(inputs[0], axes=list(range(-count, 0))), inputs[0])


@evaluates("DecodeWav")
def decode_wav(node: Node, inputs: Sequence[Array]) -> list[Array]:
    """Samples [time, channels] of a file of 16-bit PCM, and its rate; cut or filled with zeros to what is desired."""
    data = bytes(np.asarray(inputs[0]).reshape(-1)[0])
    chunks = _chunks(data)
    form, pcm = chunks.get(b"fmt ", b""), chunks.get(b"data", b"")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or len(form) < 16 or form[14:16] != b"\x10\x00":
        raise ValueError("it is no WAV file of 16-bit PCM")
    channels, rate = int.from_bytes(form[2:4], "little"), int.from_bytes(form[4:8], "little")
    found = np.frombuffer(pcm[: len(pcm) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    count, width = (int(node.attrs.get(f"desired_{name}", -1)) for name in ("samples", "channels"))
    count, width = count if count > 0 else len(found), width if width > 0 else channels
    made = np.zeros((count, width), np.float32)
    kept = found[:count, [min(place, channels - 1) for place in range(width)]]
    made[: len(kept)] = kept / np.float32(32768)
    return [made, np.asarray(rate, np.int32)]


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Contents of a RIFF file's chunks by name; a cut-off one as far as it goes."""
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        found.setdefault(data[place : place + 4], data[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
    return found


@evaluates("AudioSpectrogram")
def spectrogram(node: Node, inputs: Sequence[Array]) -> Array:
    """Samples [time, channels] to [channels, frames, bins]."""
    size, stride = int(node.attrs["window_size"]), int(node.attrs["stride"])
    length = 1 << (size - 1).bit_length()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(inputs[0].T, size, axis=1)[:, ::stride] * window
    power = np.abs(np.fft.rfft(frames, length)) ** 2
    return (power if node.attrs.get("magnitude_squared") else np.sqrt(power)).astype(np.float32)


@evaluates("Mfcc")
def mfcc(node: Node, inputs: Sequence[Array]) -> Array:
    """Cepstral coefficients; the bands are found bin by bin, as the kernel does."""
    spectrum, held = np.sqrt(inputs[0].astype(np.float64)), node.attrs
    bands, count = int(held.get("filterbank_channel_count", 40)), int(held.get("dct_coefficient_count", 13))
    low, high = (float(held.get(f"{end}_frequency_limit", hertz)) for end, hertz in (("lower", 20), ("upper", 4000)))
    energies = np.maximum(_bands(spectrum, float(inputs[1]), bands, low, high), 1e-12)
    turn = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(count))
    return np.asarray(np.log(energies) @ (np.sqrt(2 / bands) * np.cos(turn))).astype(np.float32)


def _bands(spectrum: Array, rate: float, bands: int, low: float, high: float) -> Array:
    bins = spectrum.shape[-1]
    mel = [1127.0 * np.log1p(hertz / 700.0) for hertz in (low, high)]
    centres = [mel[0] + (mel[1] - mel[0]) / (bands + 1) * (place + 1) for place in range(bands + 1)]
    hertz = 0.5 * rate / (bins - 1)
    made = np.zeros((*spectrum.shape[:-1], bands))
    band = -1
    for place in range(int(1.5 + low / hertz), int(high / hertz) + 1):
        here = 1127.0 * np.log1p(place * hertz / 700.0)
        while band + 1 <= bands and centres[band + 1] < here:
            band += 1
        below = centres[band] if band >= 0 else mel[0]
        above = centres[min(band + 1, bands)]
        share = (above - here) / (above - below) if above > below else 0.0
        if 0 <= band < bands:
            made[..., band] += share * spectrum[..., place]
        if band + 1 < bands:
            made[..., band + 1] += (1 - share) * spectrum[..., place]
    return made
