"""One-operator TFLite files, and their conversion compared with LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bessemer.sources.base import OpenOptions
from bessemer.sources.tflite import SOURCE
from bessemer.wire.tflite import write
from bessemer.wire.tflite.records import (
    Buffer,
    Model,
    Operator,
    OperatorCode,
    Options,
    QuantizationParameters,
    SubGraph,
    Tensor,
)
from bessemer.wire.tflite.schema import BuiltinOperator, TensorType

TYPES = {
    "float32": TensorType.FLOAT32, "int32": TensorType.INT32, "int64": TensorType.INT64,
    "bool": TensorType.BOOL, "int8": TensorType.INT8, "uint8": TensorType.UINT8, "int16": TensorType.INT16,
    "float16": TensorType.FLOAT16, "float64": TensorType.FLOAT64, "complex64": TensorType.COMPLEX64,
    "string": TensorType.STRING, "int4": TensorType.INT4,
}  # fmt: skip
Array = np.ndarray[Any, Any]


class Builder:
    """Tensors are added in order; `save` writes a file of one subgraph (or several)."""

    def __init__(self) -> None:
        self.model = Model(buffers=[Buffer()], subgraphs=[SubGraph()])
        self.graph = self.model.subgraphs[0]
        self.feeds: dict[str, Array] = {}

    def subgraph(self) -> int:
        """A further subgraph, now the current one; its number."""
        self.model.subgraphs.append(SubGraph())
        self.graph = self.model.subgraphs[-1]
        return len(self.model.subgraphs) - 1

    def tensor(
        self, shape: tuple[int, ...], dtype: str = "float32", data: Array | None = None, **more: Any
    ) -> int:
        buffer = 0
        if data is not None:
            self.model.buffers.append(Buffer(np.ascontiguousarray(data).tobytes()))
            buffer = len(self.model.buffers) - 1
        number = len(self.graph.tensors)
        name = f"t{len(self.model.subgraphs) - 1}_{number}"
        kind = TYPES.get(dtype, TensorType.RESOURCE)
        self.graph.tensors.append(Tensor(shape=shape, type=kind, buffer=buffer, name=name, **more))
        return number

    def const(self, data: Any, dtype: str = "float32", **more: Any) -> int:
        if dtype == "string":
            return self.tensor(np.shape(data), dtype, strings(data), **more)
        if dtype == "int4":
            return self.tensor(np.shape(data), dtype, nibbles(data), **more)
        array = np.array(data, dtype)
        return self.tensor(array.shape, dtype, array, **more)

    def input(self, data: Any, dtype: str = "float32", **more: Any) -> int:
        array = np.array(data, object if dtype == "string" else dtype)
        index = self.tensor(array.shape, dtype, **more)
        self.graph.inputs += (index,)
        self.feeds[self.graph.tensors[index].name or ""] = array
        return index

    def op(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        table: str = "",
        custom: bytes | None = None,
        **fields: Any,
    ) -> None:
        known = BuiltinOperator.__members__.get(name)
        own = name if known is None else None
        code = OperatorCode(builtin_code=32 if known is None else int(known), custom_code=own)
        self.model.operator_codes.append(code)
        options = Options(table, fields) if table else None
        self.graph.operators.append(
            Operator(
                opcode_index=len(self.model.operator_codes) - 1, inputs=tuple(inputs), outputs=tuple(outputs),
                builtin_options=options, custom_options=custom,
            )
        )  # fmt: skip

    def save(self, outputs: list[int], path: Path) -> Path:
        self.graph.outputs = tuple(outputs)
        write(self.model, path)
        return path


def nibbles(data: Any) -> Array:
    """Two to a byte, the lower half first."""
    flat = np.ravel(data).astype(np.int8).view(np.uint8) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return np.asarray(flat[::2] | flat[1::2] << 4, np.uint8)


def strings(data: Any) -> Array:
    """TFLite's string buffer: a count, where each starts and the last ends, then the bytes."""
    items = [str(item).encode() for item in np.ravel(data)]
    starts = 4 * (len(items) + 2) + np.cumsum([0, *map(len, items)])
    head = np.array([len(items), *starts], np.int32).tobytes()
    return np.frombuffer(head + b"".join(items), np.uint8)


def scaled(scale: float, zero: int = 0) -> QuantizationParameters:
    """Per-tensor quantization."""
    return QuantizationParameters(scale=(scale,), zero_point=(zero,))


def converted(path: Path, feeds: dict[str, Array], signature: str | None = None) -> dict[str, Array]:
    """What ONNX Runtime makes of the converted file."""
    import onnx
    import onnx_ir
    import onnxruntime

    from bessemer.passes.composites import expand_composites
    from bessemer.passes.materialize import MaterializeQdq

    graph = SOURCE.open(path, OpenOptions(signature=signature)).graph
    expand_composites(graph)
    MaterializeQdq(26).run(graph)
    proto = onnx_ir.to_proto(graph)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds), strict=True))


def both(path: Path, feeds: dict[str, Array]) -> list[tuple[Array, Array]]:
    """Pairs (LiteRT, ONNX Runtime) of every output."""
    from bessemer.runners.litert import LiteRTRunner

    expected = LiteRTRunner(path, reference_kernels=True).run(feeds)
    got = converted(path, feeds)
    assert list(expected) == list(got)
    return [(expected[name], got[name]) for name in expected]


def same(path: Path, feeds: dict[str, Array], tolerance: float = 1e-5) -> None:
    """Shapes and types agree, values within `tolerance`."""
    for expected, got in both(path, feeds):
        assert expected.dtype == got.dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
