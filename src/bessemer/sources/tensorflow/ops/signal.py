"""Fourier transforms, complex numbers, and the audio operators made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bessemer.sources.channels_last import elementwise, signal
from bessemer.sources.channels_last.dims import broadcast
from bessemer.sources.channels_last.elementwise import applied
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.shaping import transpose
from bessemer.sources.channels_last.signal import Complex, parts
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.mel import cosines, mel_weights
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.common import bound, ints, real
from bessemer.sources.tensorflow.registry import op


@op("RFFT", "RFFT2D", "RFFT3D")
def rfft(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Of reals over the last axes, cut or filled with zeros to the given lengths."""
    return signal.rfft(canvas, inputs[0], tuple(ints(inputs[1], "length")))


@op("IRFFT")
def irfft(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Reals again."""
    return signal.irfft(canvas, inputs[0], ints(inputs[1], "length")[0])


TRANSFORMS = {
    "FFT": (1, False), "IFFT": (1, True), "FFT2D": (2, False), "IFFT2D": (2, True), "FFT3D": (3, False),
    "IFFT3D": (3, True),
}  # fmt: skip


@op(*TRANSFORMS)
def fft(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Of complex numbers over the last axes."""
    count, backwards = TRANSFORMS[node.op]
    return signal.fft(canvas, inputs[0], count, backwards=backwards)


@op("Complex")
def complex_of(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """From real and imaginary part."""
    shape = broadcast(*(tensor.shape for tensor in inputs))
    if any(tensor.shape != shape for tensor in inputs):
        raise Unsupported("complex", "parts of different shapes", "broadcast them first")
    return Complex(inputs[0], inputs[1])


@op("Real")
def real_part(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The first of each pair."""
    return parts(canvas, inputs[0])[0]


@op("Imag")
def imaginary_part(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The second of each pair."""
    return parts(canvas, inputs[0])[1]


@op("Conj")
def conjugate(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """The imaginary part negated."""
    held, other = parts(canvas, inputs[0])
    return Complex(held, applied(canvas, "Neg", other))


@op("AudioSpectrogram")
def spectrogram(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Samples [time, channels] to [channels, frames, bins]: frames under a Hann window, filled to a power of two."""
    samples = inputs[0]
    size, stride = int(node.attrs["window_size"]), int(node.attrs["stride"])
    count = samples.shape[0]
    if not isinstance(count, int) or count < size:
        raise Unsupported("dynamic-shape", f"windows of {size} over {count} samples", "bind the number of samples")
    length = 1 << (size - 1).bit_length()
    frames = (count - size) // stride + 1
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    places = np.arange(frames)[:, None] * stride + np.arange(size)
    rows = canvas.at(transpose(canvas, samples, (1, 0)))
    cut = canvas.emit("Gather", [rows, canvas.literal(places, "frames")], axis=1)
    weighted = canvas.emit("Mul", [cut, canvas.literal(window, "window")])
    framed = canvas.result(weighted, (samples.shape[1], frames, size))
    pair = signal.rfft(canvas, framed, (length,))
    if not node.attrs.get("magnitude_squared"):
        return signal.magnitude(canvas, pair)

    def draw(held: Any, other: Any) -> Any:
        squares = [canvas.emit("Mul", [part, part]) for part in (held, other)]
        return canvas.emit("Add", squares)

    return elementwise.pointwise(canvas, parts(canvas, pair), draw)


@op("Mfcc")
def mfcc(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Cepstral coefficients of a spectrogram of squared magnitudes [channels, frames, bins]."""
    spectrum, held = inputs[0], node.attrs
    bands, count = int(held.get("filterbank_channel_count", 40)), int(held.get("dct_coefficient_count", 13))
    try:
        rate = real(inputs[1], "sample rate")
    except Unsupported as problem:
        problem.results = (((*spectrum.shape[:-1], count), spectrum.dtype),)
        raise
    low, high = (float(held.get(f"{end}_frequency_limit", hertz)) for end, hertz in (("lower", 20), ("upper", 4000)))
    weights = mel_weights(bound(spectrum, -1), rate, bands, low, high).astype(np.float32)
    amplitudes = applied(canvas, "Sqrt", spectrum)
    energies = matmul(canvas, amplitudes, canvas.constant(weights, "mel"))
    floor = elementwise.with_scalar(canvas, "Max", energies, 1e-12)
    table = canvas.constant(cosines(bands, count).astype(np.float32), "cosines")
    return matmul(canvas, applied(canvas, "Log", floor), table)


@op("Angle")
def angle(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered | Sequence[Ordered]:
    """Direction of each number."""
    from bessemer.sources.tensorflow.ops.arithmetic import atan2

    held, other = parts(canvas, inputs[0])
    return atan2(canvas, node, [other, held])


