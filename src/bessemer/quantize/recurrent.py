"""Recurrent layers with int8 weights whose kernels quantize their activations while they run: no calibration data.

Both matrices of an LSTM, GRU or RNN (input: directions x gate rows x width; recurrent: directions x gate rows x hidden)
become symmetric INT8 with a scale for each gate row: a block along the summed axis that is as long as the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bessemer.ir.canonical import HYBRID_KEY, STATE_KEY
from bessemer.ir.encoding import QuantizedWeight, encoding_of, set_weight
from bessemer.passes.rewrite import is_constant
from bessemer.quantize.assign import held
from bessemer.quantize.clipping import names_of
from bessemer.quantize.encodings import integer_format
from bessemer.quantize.encodings.base import Grain

if TYPE_CHECKING:
    import onnx_ir

KINDS = ("LSTM", "GRU", "RNN")

MATRICES = (1, 2)
"""Places of the input matrix and the recurrent one."""


def why_float(node: onnx_ir.Node, keep: Sequence[str] = (), least: int = 0) -> str:
    """Why the weights of a recurrent node stay float; '' where they need not. least: elements below which it pays not."""
    import onnx_ir

    pattern = next((glob for glob in keep if any(name and fnmatchcase(name, glob) for name in names_of(node))), "")
    if pattern:
        return f"kept by '{pattern}'"
    if STATE_KEY in node.metadata_props:
        return "its form is that of the file it came from"
    for place in MATRICES:
        matrix = node.inputs[place]
        if matrix is None or not is_constant(matrix) or matrix.shape is None:
            return "its weights are computed"
        if matrix.dtype != onnx_ir.DataType.FLOAT or encoding_of(matrix) is not None:
            return "its weights are not float32"
        if len(matrix.uses()) > 1:
            return "its weights are read by others, too"
    if sum(_size(node.inputs[place]) for place in MATRICES) < least:
        return f"its weights have fewer than {least} elements"
    return ""


def _size(value: onnx_ir.Value | None) -> int:
    return 0 if value is None or value.const_value is None else int(value.const_value.size)


def quantize_recurrent(node: onnx_ir.Node) -> list[tuple[onnx_ir.Value, int]]:
    """Codes for both matrices, in place, and the mark of a kernel that quantizes activations; (matrix, float bytes)."""
    form, done = integer_format("INT8", symmetric=True), list[tuple["onnx_ir.Value", int]]()
    for place in MATRICES:
        matrix = node.inputs[place]
        if matrix is None:
            raise ValueError(f"{node.name} has no matrix {place}")
        real = held(matrix)
        encoding = form.fit(real, Grain(2, real.shape[2]))
        set_weight(matrix, QuantizedWeight(form.encode(real, encoding), encoding))
        done.append((matrix, real.nbytes))
    node.metadata_props[HYBRID_KEY] = "asymmetric"
    return done
