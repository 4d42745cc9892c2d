"""DFT and STFT as products with constant matrices.

The discrete Fourier transform of the ONNX specification: X[k] = sum over n of x[n] exp(-2 pi i k n / N), its inverse
with the other sign and divided by N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.expansion import Nodes
from bessemer.passes.rewrite import constant
from bessemer.targets.tflite.expand.registry import expand

if TYPE_CHECKING:
    import onnx_ir as ir

LONGEST = 8192
"""Points of a transform whose matrix is written into the file (two float32 for each pair of point and frequency)."""
COEFFICIENTS = 1 << 26


def waves(points: int, bins: int, *, inverse: bool = False) -> tuple[Array, Array]:
    """Cosines and sines (points, bins) of a transform, unscaled; angles are reduced first, so that float64 stays exact
    to its end."""
    turns = np.outer(np.arange(points), np.arange(bins)) % points
    angles = (2 if inverse else -2) * np.pi * turns / points
    return np.cos(angles), np.sin(angles)


@expand("DFT", needs=f"a known axis of known size, at most {LONGEST} points")
def dft(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """The axis goes to the end and meets the matrix there; the inverse of half a spectrum mirrors it in its matrix."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    rank, parts = len(x.shape), x.shape[-1]
    axis = _axis(node, rank)
    if axis is None or parts not in (1, 2):
        return None
    size, half, inverse = x.shape[axis], node.attributes.get_int("onesided", 0), node.attributes.get_int("inverse", 0)
    length = node.inputs[1] if len(node.inputs) > 1 else None
    asked = constant(length)
    if not isinstance(size, int) or (length is not None and asked is None):
        return None
    points = int(asked.reshape(-1)[0]) if asked is not None else 2 * (size - 1) if half and inverse else size
    if half and inverse:
        matrix = half_inverse(points, size)
    else:
        cosines, sines = waves(points, points // 2 + 1 if half else points, inverse=bool(inverse))
        matrix = _matrix(cosines, sines, complex_=parts == 2)
    if points < 1 or points > LONGEST or matrix.size > COEFFICIENTS:
        return None
    out = 1 if half and inverse else 2
    made = _transformed(nodes, x, matrix, axis, (2 if parts == 2 else 1, out))
    # the product first: waves of one and minus one cancel exactly, their parts of N do not
    return [nodes("Div", made, np.array(points, np.float32))] if inverse else [made]


def _axis(node: ir.Node, rank: int) -> int | None:
    """The transformed axis, counted from 0; the last holds real and imaginary parts."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None:
        return rank - 2
    array = constant(given)
    return None if array is None else int(array.reshape(-1)[0]) % rank


def _matrix(cosines: Array, sines: Array, *, complex_: bool) -> Array:
    """(points * parts, bins * 2): pairs of real and imaginary part on both sides."""
    of_real = np.stack([cosines, sines], axis=-1)
    if not complex_:
        return of_real.reshape(len(cosines), -1)
    of_imaginary = np.stack([-sines, cosines], axis=-1)
    return np.stack([of_real, of_imaginary], axis=1).reshape(2 * len(cosines), -1)


def half_inverse(points: int, bins: int) -> Array:
    """(bins * 2, points): the real signal whose spectrum has these bins and, mirrored, their conjugates."""
    held = min(bins, points // 2 + 1)
    cosines, sines = waves(points, held, inverse=True)
    twice = np.where((np.arange(held) == 0) | (2 * np.arange(held) == points), 1.0, 2.0)
    pairs = np.zeros((bins, 2, points))
    pairs[:held, 0], pairs[:held, 1] = (cosines * twice).T, (-sines * twice).T
    return pairs.reshape(2 * bins, points)


def _transformed(nodes: Nodes, x: ir.Value, matrix: Array, axis: int, parts: tuple[int, int]) -> ir.Value:
    """Contract (axis, parts) of x with the matrix, padding or cutting the axis to the matrix's points."""
    rank = len(x.shape or ())
    before = [at for at in range(rank - 1) if at != axis]
    order = [*before, axis, rank - 1]
    size = (x.shape or ())[axis]
    rows = parts[0] * size if isinstance(size, int) else 0
    matrix = matrix[:rows] if len(matrix) >= rows else np.pad(matrix, ((0, rows - len(matrix)), (0, 0)))
    turned = x if order == list(range(rank)) else nodes("Transpose", x, perm=order)
    flat = nodes("Reshape", turned, np.array([*[0] * len(before), rows], np.int64))
    product = nodes("MatMul", flat, nodes.constant(matrix.astype(np.float32), "waves"))
    bins = matrix.shape[1] // parts[1]
    cube = nodes("Reshape", product, np.array([*[0] * len(before), bins, parts[1]], np.int64))
    back = [order.index(at) for at in range(rank)]
    return cube if back == list(range(rank)) else nodes("Transpose", cube, perm=back)


@expand("STFT", needs=f"a known step, window and frame length of at most {LONGEST} points, and a real signal")
def stft(nodes: Nodes, node: ir.Node) -> Sequence[ir.Value] | None:
    """A convolution whose kernels are the windowed waves: frames are its positions, the step is its stride."""
    signal, step, window = node.inputs[0], constant(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    weights = constant(window, limit=LONGEST)
    length = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if signal is None or signal.shape is None or step is None or (window is not None and weights is None):
        return None
    if (length is None and weights is None) or (len(signal.shape) == 3 and signal.shape[2] != 1):
        return None
    points = int(length.reshape(-1)[0]) if length is not None else len(weights) if weights is not None else 0
    bins = points // 2 + 1 if node.attributes.get_int("onesided", 1) else points
    if not 1 <= points <= LONGEST or points * bins * 2 > COEFFICIENTS or (weights is not None and len(weights) != points):
        return None
    cosines, sines = waves(points, bins)
    scaled = [part if weights is None else part * weights.astype(np.float64)[:, None] for part in (cosines, sines)]
    kernels = np.stack([part.T for part in scaled], axis=1).reshape(2 * bins, 1, points).astype(np.float32)
    line = nodes("Reshape", signal, np.array([0, 1, -1], np.int64))
    found = nodes("Conv", line, nodes.constant(kernels, "waves"), strides=[int(step.reshape(-1)[0])], kernel_shape=[points])
    frames = nodes("Transpose", found, perm=[0, 2, 1])
    return [nodes("Reshape", frames, np.array([0, 0, bins, 2], np.int64))]
