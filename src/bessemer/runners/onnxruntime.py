"""ONNX Runtime as a Runner."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from bessemer.ir.errors import MissingExtra, RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, named_dtype

_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16", "tensor(string)": "str", "tensor(bool)": "bool",
    "tensor(float8e4m3fn)": "float8_e4m3fn", "tensor(float8e4m3fnuz)": "float8_e4m3fnuz",
    "tensor(float8e5m2)": "float8_e5m2", "tensor(float8e5m2fnuz)": "float8_e5m2fnuz",
    "tensor(float8e8m0)": "float8_e8m0fnu",
    "tensor(int4)": "int4", "tensor(uint4)": "uint4", "tensor(int2)": "int2", "tensor(uint2)": "uint2",
}  # fmt: skip


_VIEWED = {
    name
    for name, kind in _TYPES.items()
    if kind.startswith(("bfloat", "float8", "int4", "uint4", "int2", "uint2"))
}
"""Types that numpy has no name for: they cross the border as OrtValues."""


def load_runtime() -> Any:
    """The onnxruntime module, silenced; raises MissingExtra."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnxruntime", extra="ort", needed_for="Running ONNX models") from None
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


_FAILURES = (
    "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded",
    "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException",
)  # fmt: skip


_PLACE = re.compile(r"[\w./]*\.(?:cc|h):\d+ \S.*?\([^()]*\)(?: const)?(?:::<lambda\(\)>)? (?:\[with [^\]]*\] )?")
"""Where in its own sources the runtime stopped, before it says why."""


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """The runtime's own exceptions (they share no base) as RuntimeRefused."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = tuple(kind for name in _FAILURES if (kind := getattr(state, name, None)))
    try:
        yield
    except (*kinds, RuntimeError, ValueError, TypeError, OverflowError) as error:
        why = _PLACE.sub("", str(error).replace("\n", " "))[:400]
        raise RuntimeRefused(f"ONNX Runtime refuses {path.name}", why=why) from None


LARGE = 1 << 28
"""Bytes of weights beside the graph from which on they are not copied for the kernels."""


class OrtRunner:
    """A session on the CPU.

    optimize: let the runtime optimise the graph (off by default: the file is executed as it is written);
    fold: compute what is constant once, weights behind DequantizeLinear among it, and execute the rest as written;
    threads: 0 leaves the choice to the runtime;
    large: weights beside the graph stay memory-mapped: no kernel gets a copy of its own in the order it likes best,
    which would hold the model in memory once more and take longer than a run;
    only: names of values that take the place of the outputs; nodes that they do not need are left out.
    """

    def __init__(
        self,
        path: Path,
        *,
        optimize: bool = False,
        fold: bool = False,
        threads: int = 0,
        large: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        self._ort = load_runtime()
        self._path = path
        self._options = self._ort.SessionOptions()
        level = self._ort.GraphOptimizationLevel
        plain = level.ORT_ENABLE_BASIC if fold else level.ORT_DISABLE_ALL
        self._options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else plain
        if fold:
            self._options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 4
        # Waiting threads sleep: beside other work (a second runtime, the user's own) spinning ones slow everybody down.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if large:
            self._options.add_session_config_entry("session.disable_prepacking", "1")
        self._tapped: tuple[tuple[str, ...], list[str], Any] | None = None
        with refusals(path):
            self._session = self._part(_proto(path), only) if only else self._open(str(path))
        borders = (*self._session.get_inputs(), *self._session.get_outputs())
        packed = next(
            (value.name for value in borders if "int4" in value.type or "int2)" in value.type), None
        )
        if packed is not None:
            raise RuntimeRefused(f"ONNX Runtime's Python side cannot pass the packed integers of '{packed}'")
        self.runtime = f"ONNX Runtime {self._ort.__version__}"
        self._plain_border = not any(
            value.type in _VIEWED for value in (*self._session.get_inputs(), *self._session.get_outputs())
        )
        self.signature = Signature(
            tuple(map(_spec, self._session.get_inputs())), tuple(map(_spec, self._session.get_outputs()))
        )

    def _open(self, model: str | bytes) -> Any:
        return self._ort.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        return self._run(self._session, inputs, [spec.name for spec in self.signature.outputs])

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values, by a copy of the model that ends at them; its weights stay in the one file.

        The session for the last names is kept: a cut is tapped at the same ones for every sample.
        """
        import onnx

        asked = tuple(dict.fromkeys(names))
        if self._tapped is None or self._tapped[0] != asked:
            self._tapped = None  # let go of the weights of the one before
            proto = onnx.load(self._path, load_external_data=False)
            made = {name for node in proto.graph.node for name in node.output}
            wanted = [name for name in asked if name in made]
            self._tapped = (asked, wanted, self._part(proto, wanted) if wanted else None)
        _, wanted, session = self._tapped
        return self._run(session, inputs, wanted) if wanted else {}

    def _part(self, proto: Any, names: Sequence[str]) -> Any:
        """A session of the file that ends at the named values. Raises RuntimeRefused."""
        end_at(proto, names)
        external = any(tensor.data_location == 1 for tensor in proto.graph.initializer)
        with refusals(self._path):
            if not external:
                return self._open(proto.SerializeToString())
            here = self._path.with_name(f".{self._path.name}.{os.getpid()}.tap")  # beside what it refers to
            here.write_bytes(proto.SerializeToString())
            try:
                return self._open(str(here))
            finally:
                here.unlink()

    def _run(self, session: Any, inputs: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
        missing = [spec.name for spec in self.signature.inputs if spec.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        given = [item.name for item in session.get_inputs()]
        fed = {name: _plain(inputs[name]) for name in given}
        with refusals(self._path):
            if self._plain_border and not any(_is_extended(array) for array in fed.values()):
                return dict(zip(names, session.run(names, fed), strict=True))
            values = {name: self._value(array) for name, array in fed.items()}
            found = session._sess.run_with_ort_values(  # the public wrapper cannot return sequences
                {name: value._ortvalue for name, value in values.items()}, names, None
            )
            return {name: _numpy(self._ort.OrtValue(item)) for name, item in zip(names, found, strict=True)}

    def _value(self, array: Array) -> Any:
        import onnx_ir

        if not _is_extended(array):
            return self._ort.OrtValue.ortvalue_from_numpy(array)
        kind = onnx_ir.DataType.from_numpy(array.dtype)
        raw = array.view(np_unsigned(array.dtype.itemsize))
        return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, int(kind))


def end_at(proto: Any, names: Sequence[str]) -> None:
    """Let a ModelProto end at the named values: other outputs, and nodes that these do not need, are gone."""
    import onnx

    needed = set(names)
    kept = []
    for node in reversed(_ordered(proto.graph)):
        if needed.intersection(node.output):
            needed |= _read(node)
            kept.append(node)
    said = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    ends = [onnx.ValueInfoProto.FromString(said[name].SerializeToString()) if name in said
            else onnx.ValueInfoProto(name=name) for name in names]  # fmt: skip
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    for held in (proto.graph.node, proto.graph.output):
        del held[:]
    proto.graph.node.extend(nodes)
    proto.graph.output.extend(ends)
    unused = [index for index, item in enumerate(proto.graph.initializer) if item.name not in needed]
    for index in reversed(unused):
        del proto.graph.initializer[index]
    given = [index for index, item in enumerate(proto.graph.input) if item.name not in needed]
    for index in reversed(given):
        del proto.graph.input[index]


def _ordered(graph: Any) -> list[Any]:
    """Nodes behind what they read: some producers write them in any order."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    order: dict[int, None] = {}
    pending = list(range(len(graph.node)))[::-1]
    while pending:
        index = pending[-1]
        before = {makers[name] for name in _read(graph.node[index]) if name in makers} - {index}
        waiting = [item for item in before if item not in order]
        if index not in order and waiting:
            pending.extend(waiting)
            continue
        order[index] = None
        pending.pop()
    return [graph.node[index] for index in order]


def _read(node: Any) -> set[str]:
    """Names that a node reads, or its branches and bodies do (their own among them)."""
    found = set(node.input)
    for attribute in node.attribute:
        graphs = (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
        for graph in graphs:
            found.update(value.name for value in graph.output)
            found.update(name for inner in graph.node for name in _read(inner))
    return found


def _proto(path: Path) -> Any:
    import onnx

    return onnx.load(path, load_external_data=False)


def np_unsigned(itemsize: int) -> str:
    """Unsigned integer type of the same width."""
    return f"uint{8 * itemsize}"


def _is_extended(array: Any) -> bool:
    """Whether numpy itself has no such type (ml_dtypes: bfloat16, float8, ...; some claim the kind of a float)."""
    dtype = getattr(array, "dtype", None)
    return dtype is not None and (dtype.kind == "V" or hasattr(ml_dtypes, dtype.name))


def _plain(value: Any) -> Any:
    """Arrays stay arrays (scalars become 0-d), sequences become lists of arrays."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return np.asarray(value) if isinstance(value, (np.generic, int, float)) else value


def _numpy(value: Any) -> Any:
    kind = _TYPES.get(value.data_type(), "")
    if value.data_type() in _VIEWED:
        return _raw(value, kind)
    return value.numpy()


def _raw(value: Any, kind: str) -> Array:
    """A copy of a tensor whose type numpy lacks."""
    import ctypes

    shape = tuple(value.shape())
    dtype = named_dtype(kind)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = ctypes.string_at(value.data_ptr(), count) if count else b""
    return np.frombuffer(data, dtype).reshape(shape)


def _spec(value: Any) -> TensorSpec:
    kind = _TYPES.get(value.type) or value.type.removeprefix("tensor(").removesuffix(")")
    if value.type.startswith("seq("):
        kind = "sequence"
    elif value.type.startswith("optional("):
        kind = "optional"
    return TensorSpec(value.name, kind, tuple(value.shape or ()))
