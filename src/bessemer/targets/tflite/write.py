"""The built module as records of a TFLite file."""

from __future__ import annotations

from typing import Any

import numpy as np

from bessemer.ir.encoding import Encoding
from bessemer.ir.types import Array
from bessemer.targets.tflite.builder import Module, Op, Subgraph, Tensor, options_table
from bessemer.targets.tflite.versions import version_of
from bessemer.wire.tflite import records as rec
from bessemer.wire.tflite.schema import BuiltinOperator, BuiltinOptions, TensorType

BITS = {"INT4": 4, "UINT4": 4, "INT2": 2}


def to_records(module: Module) -> rec.Model:
    """The whole file; weights stay lazy until the writer reaches them."""
    model = rec.Model(version=3, description=module.description or "bessemer")
    model.buffers.append(rec.Buffer())
    codes: dict[tuple[int, str, int], int] = {}
    shared: dict[int, int] = {}
    for subgraph in module.subgraphs:
        model.subgraphs.append(_subgraph(subgraph, model, codes, shared))
    number = {index: position for position, index in enumerate(_used(module.subgraphs[0]))}
    model.signature_defs.append(
        rec.SignatureDef(
            inputs=[rec.TensorMap(name, number[index]) for name, index in module.inputs.items()],
            outputs=[rec.TensorMap(name, number[index]) for name, index in module.outputs.items()],
            signature_key="serving_default",
        )
    )
    return model


def _subgraph(
    subgraph: Subgraph, model: rec.Model, codes: dict[tuple[int, str, int], int], shared: dict[int, int]
) -> rec.SubGraph:
    keep = _used(subgraph)
    number = {index: position for position, index in enumerate(keep)}
    number[-1] = -1
    record = rec.SubGraph(
        name=subgraph.name,
        inputs=tuple(number[index] for index in subgraph.inputs),
        outputs=tuple(number[index] for index in subgraph.outputs),
    )
    for index in keep:
        record.tensors.append(_tensor(subgraph.tensors[index], model))
    for op in subgraph.ops:
        record.operators.append(_operator(op, subgraph, number, model, codes))
    return record


def _used(subgraph: Subgraph) -> list[int]:
    """Indices of the tensors that something reads or writes, in order."""
    seen = {*subgraph.inputs, *subgraph.outputs}
    for op in subgraph.ops:
        seen.update(op.inputs, op.outputs, op.intermediates)
    return sorted(seen - {-1})


def _tensor(tensor: Tensor, model: rec.Model) -> rec.Tensor:
    dynamic = any(dim is None for dim in tensor.shape)
    buffer = 0
    if tensor.data is not None:
        buffer = len(model.buffers)
        model.buffers.append(rec.Buffer(_bytes(tensor)))
    return rec.Tensor(
        shape=tuple(1 if dim is None else dim for dim in tensor.shape),
        type=int(TensorType[tensor.type]),
        buffer=buffer,
        name=tensor.name,
        quantization=_quantization(tensor.encoding),
        is_variable=tensor.variable,
        shape_signature=tuple(-1 if dim is None else dim for dim in tensor.shape) if dynamic else None,
        has_rank=True,
    )


def _bytes(tensor: Tensor) -> rec.LazyBytes | None:
    if tensor.data is None:
        return None
    data, count = tensor.data, 1
    for dim in tensor.shape:
        count *= dim or 0
    if count == 0:
        return None
    bits = BITS.get(tensor.type)
    if bits:
        return rec.LazyBytes(-(-count * bits // 8), lambda: _packed(data(), bits))
    width = {"BOOL": 1, "COMPLEX64": 8}.get(tensor.type) or np.dtype(_width(tensor.type)).itemsize
    return rec.LazyBytes(count * width, lambda: np.ascontiguousarray(data()))


def _width(type_: str) -> Any:
    from bessemer.targets.tflite.dtypes import NUMPY

    return NUMPY[type_]


def _packed(array: Array, bits: int) -> Array:
    """Small integers, the first in the lowest bits of a byte."""
    per = 8 // bits
    flat = array.reshape(-1).astype(np.uint8) & ((1 << bits) - 1)
    padded = np.zeros(-(-flat.size // per) * per, np.uint8)
    padded[: flat.size] = flat
    out = np.zeros(padded.size // per, np.uint8)
    for position in range(per):
        out |= padded[position::per] << (bits * position)
    return out


def _quantization(encoding: Encoding | None) -> rec.QuantizationParameters | None:
    if encoding is None:
        return None
    scale = np.asarray(encoding.scale, np.float32).reshape(-1)
    zero = np.asarray(encoding.zero_point, np.int64).reshape(-1)
    return rec.QuantizationParameters(
        scale=tuple(float(item) for item in scale),
        zero_point=tuple(int(item) for item in zero),
        quantized_dimension=encoding.axis or 0,
    )


def _operator(
    op: Op,
    subgraph: Subgraph,
    number: dict[int, int],
    model: rec.Model,
    codes: dict[tuple[int, str, int], int],
) -> rec.Operator:
    table = options_table(op.code)
    first = table is None or table in BuiltinOptions.__members__
    options = rec.Options(table, dict(op.options)) if table is not None else None
    return rec.Operator(
        opcode_index=_code(op, subgraph, model, codes),
        inputs=tuple(number[index] for index in op.inputs),
        outputs=tuple(number[index] for index in op.outputs),
        builtin_options=options if first else None,
        builtin_options2=None if first else options,
        custom_options=op.custom_options or None,
        intermediates=tuple(number[index] for index in op.intermediates) or None,
    )


def _code(op: Op, subgraph: Subgraph, model: rec.Model, codes: dict[tuple[int, str, int], int]) -> int:
    builtin, version = int(BuiltinOperator[op.code]), version_of(op, subgraph)
    key = (builtin, op.custom_code, version)
    if key not in codes:
        codes[key] = len(model.operator_codes)
        model.operator_codes.append(
            rec.OperatorCode(builtin_code=builtin, custom_code=op.custom_code or None, version=version)
        )
    return codes[key]
