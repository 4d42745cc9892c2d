"""Fourier transforms. A complex tensor is two real ones until it becomes real; data movement moves both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Perm, int64s
from bessemer.sources.channels_last.elementwise import pointwise
from bessemer.sources.channels_last.matmul import matmul
from bessemer.sources.channels_last.shaping import sliced
from bessemer.sources.drawing import Canvas, Ordered, Unsupported

if TYPE_CHECKING:
    import onnx_ir

PRODUCTS = 1024
"""Longest transform that is written as products of matrices, which every target has kernels for."""


class Complex(Ordered):
    """A complex tensor as its real and its imaginary part; asking for its value is refused, with the reason."""

    def __init__(self, real: Ordered, imag: Ordered, dtype: Any = None) -> None:
        import onnx_ir

        self.real, self.imag = real, imag
        super().__init__(real.name, real.shape, dtype or onnx_ir.DataType.COMPLEX64)

    def draw(self, canvas: Canvas, wanted: Perm) -> None:
        """Raises Unsupported: no value can be complex."""
        raise Unsupported(
            "complex", f"'{self.name}' is complex, a type ONNX operators do not take",
            "take its real and imaginary parts (tf.math.real, tf.math.imag) or its magnitude (tf.abs) first",
        )  # fmt: skip


def parts(canvas: Canvas, tensor: Ordered) -> tuple[Ordered, Ordered]:
    """Real and imaginary part; a real tensor has none of the latter, a constant is split."""
    if isinstance(tensor, Complex):
        return tensor.real, tensor.imag
    if tensor.known is None:
        raise Unsupported("complex", f"'{tensor.name}' is complex where the model is given it", "give its two parts")
    return canvas.constant(tensor.known.real.copy(), tensor.name), canvas.constant(tensor.known.imag.copy(), tensor.name)


def rfft(canvas: Canvas, tensor: Ordered, lengths: tuple[int, ...]) -> Complex:
    """Transform of reals over the last len(lengths) axes, each cut or filled with zeros to its length; the last one's
    upper half is left out (DFT is separable: the last axis first)."""
    rank = tensor.rank
    if len(lengths) == 1 and isinstance(tensor.shape[-1], int) and lengths[0] <= PRODUCTS:
        return _rfft_products(canvas, tensor, lengths[0])
    column = canvas.emit("Unsqueeze", [canvas.at(tensor), canvas.literal(int64s([-1]), "axes")])
    value = column
    for place in range(len(lengths)):
        axis = rank - 1 - place
        length = canvas.literal(np.array(lengths[-1 - place], np.int64), "length")
        where = canvas.literal(np.array(axis, np.int64), "axis")
        value = canvas.emit("DFT", [value, length, where], onesided=int(place == 0))
    shape = (*tensor.shape[: rank - len(lengths)], *lengths[:-1], lengths[-1] // 2 + 1)
    return paired(canvas, value, shape)


def _rfft_products(canvas: Canvas, tensor: Ordered, length: int) -> Complex:
    """Two products with tables of cosines and sines; rows that would meet zeros are left out."""
    have = tensor.shape[-1]
    assert isinstance(have, int)
    used = min(have, length)
    whole = tensor if used == have else sliced(canvas, tensor, [0], [used], [tensor.rank - 1])
    angle = 2 * np.pi * (np.outer(np.arange(used), np.arange(length // 2 + 1)) % length) / length
    tables = [canvas.constant(wave.astype(tensor.dtype.numpy()), "wave") for wave in (np.cos(angle), -np.sin(angle))]
    real, imag = (matmul(canvas, whole, table) for table in tables)
    return Complex(real, imag)


def fft(canvas: Canvas, tensor: Ordered, count: int = 1, *, backwards: bool = False) -> Complex:
    """Transform of complex numbers over the last `count` axes."""
    real, imag = parts(canvas, tensor)
    column = canvas.literal(int64s([-1]), "axes")
    pair = [canvas.emit("Unsqueeze", [canvas.at(part), column]) for part in (real, imag)]
    value = canvas.emit("Concat", pair, axis=-1)
    for place in range(count):
        where = canvas.literal(np.array(tensor.rank - 1 - place, np.int64), "axis")
        value = canvas.emit("DFT", [value, None, where], inverse=int(backwards))
    return paired(canvas, value, tensor.shape)


def irfft(canvas: Canvas, tensor: Ordered, length: int) -> Ordered:
    """Reals whose transform's lower half along the last axis is `tensor`, cut or filled to length // 2 + 1 first.

    Written as two products with cosines and sines: the upper half is the lower one's mirror image.
    """
    real, imag = parts(canvas, tensor)
    half = length // 2 + 1
    have = real.shape[-1]
    if not isinstance(have, int):
        raise Unsupported("dynamic-shape", "an inverse transform of an unbound length")
    used = min(have, half)
    angle = 2 * np.pi * np.outer(np.arange(used), np.arange(length)) / length
    weight = np.full(used, 2.0)
    weight[0] = 1.0
    if length % 2 == 0 and used == half:
        weight[-1] = 1.0
    kind = real.dtype.numpy()
    tables = [(weight[:, None] * wave / length).astype(kind) for wave in (np.cos(angle), -np.sin(angle))]
    cuts = [canvas.literal(int64s([item]), "cut") for item in (0, used, -1)]
    values = [canvas.at(part) for part in (real, imag)]
    if used != have:
        values = [canvas.emit("Slice", [value, *cuts]) for value in values]
    products = [
        canvas.emit("MatMul", [value, canvas.literal(table, "wave")]) for value, table in zip(values, tables, strict=True)
    ]
    return canvas.result(canvas.emit("Add", products), (*real.shape[:-1], length))


def paired(canvas: Canvas, value: onnx_ir.Value, shape: tuple[Any, ...]) -> Complex:
    """The tensor whose parts stand along one more axis at the end of `value`."""
    halves = [
        canvas.result(canvas.emit("Gather", [value, canvas.literal(np.array(which, np.int64), "part")], axis=-1), shape)
        for which in (0, 1)
    ]
    return Complex(halves[0], halves[1])


def magnitude(canvas: Canvas, tensor: Ordered, *, name: str = "") -> Ordered:
    """Length of each number."""

    def draw(real: onnx_ir.Value, imag: onnx_ir.Value) -> Any:
        squares = [canvas.emit("Mul", [part, part]) for part in (real, imag)]
        return canvas.emit("Sqrt", [canvas.emit("Add", squares)])

    return pointwise(canvas, parts(canvas, tensor), draw, name=name)
