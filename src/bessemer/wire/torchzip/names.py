"""The names that a file of weights may use: each rebuilds a container, a number, a type or a tensor, by our own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.machine import Known, key_of
from bessemer.wire.torchzip.tensors import STORAGES, WIDTHS, Quantizer, Storage, Tensor, Unread


@dataclass(frozen=True)
class Symbol:
    """A type, a layout, a scheme: named, never called. kind: 'dtype', 'storage', 'scheme' or 'type'."""

    kind: str
    name: str


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`: then follow requires_grad, hooks and lazy bits."""
    if not isinstance(storage, Storage):
        raise WireError("a tensor is rebuilt from what is no storage")
    made = Tensor(storage.dtype, tuple(shape), tuple(strides), offset, storage)
    return made.marked(rest[2]) if len(rest) > 2 and isinstance(rest[2], dict) else made


def _typed(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """`_rebuild_tensor_v3`: the storage is bytes; after requires_grad and hooks the type is said, then lazy bits."""
    dtype, facts = rest[2], rest[3] if len(rest) > 3 else None
    if not isinstance(storage, Storage) or not isinstance(dtype, Symbol) or dtype.kind != "dtype":
        raise WireError("a tensor is rebuilt without a storage or a type")
    if dtype.name not in WIDTHS:
        raise WireError(f"a tensor of the type {dtype.name}")
    made = Tensor(dtype.name, tuple(shape), tuple(strides), offset, storage)
    return made.marked(facts) if isinstance(facts, dict) else made


def _quantized(storage: Any, offset: Any, shape: Any, strides: Any, scheme: Any, *_: Any) -> Tensor:
    """`_rebuild_qtensor`: (scheme, scale, zero point) or (scheme, scales, zero points, axis)."""
    codes = _tensor(storage, offset, shape, strides)
    if len(scheme) == 4:
        return replace(codes, quantizer=Quantizer(scheme[1], scheme[2], int(scheme[3])))
    return replace(codes, quantizer=Quantizer(float(scheme[1]), int(scheme[2])))


def _first(tensor: Any, *_: Any) -> Any:
    """A parameter is its tensor: whether it learns, its hooks and its Python attributes are no weights."""
    return tensor


def _of_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """`_rebuild_from_type_v2`: a tensor of a subclass, by the function that rebuilds the plain one."""
    if not isinstance(function, Known) or not isinstance(kind, Symbol):
        raise WireError("a tensor subclass that is rebuilt by no known function")
    return function.make(*arguments)


class NumpyType:
    """numpy.dtype while it is rebuilt: the name first, the byte order as its state."""

    def __init__(self, name: Any, *_: Any) -> None:
        if isinstance(name, Symbol):
            name = name.name
        self.swapped = isinstance(name, str) and name[:1] == ">"
        self.name = name.lstrip("<>=|") if isinstance(name, str) else ""

    def fill(self, state: Any) -> None:
        """(version, byte order, ...)."""
        self.swapped = state[1] == ">"

    @property
    def plain(self) -> str:
        """numpy's long name ('float32'); WireError for objects, texts and records."""
        long = NUMPY.get(self.name)
        if long is None:
            raise WireError(f"a numpy array of the type '{self.name[:20]}'")
        return long


NUMPY = {
    "b1": "bool", "bool": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8", "u2": "uint16",
    "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip


class NumpyArray:
    """A numpy array while it is rebuilt: empty first, its state says everything. `tensor` is None until then."""

    def __init__(self, *_: Any) -> None:
        self.tensor: Tensor | Unread | None = None

    def fill(self, state: Any) -> None:
        """(version, shape, type, column-major, bytes)."""
        _, shape, kind, fortran, data = state
        if isinstance(data, list):
            self.tensor = Unread("a numpy array of Python objects")
            return
        self.tensor = _array(shape, kind, bool(fortran), data)


def _array(shape: Any, kind: Any, fortran: bool, data: Any) -> Tensor:
    import sys

    if not isinstance(kind, NumpyType) or not isinstance(data, (bytes, memoryview)):
        raise WireError("a numpy array without a type or bytes")
    plain = kind.plain
    held = memoryview(data)
    big = kind.swapped == (sys.byteorder == "little")
    storage = Storage("numpy", plain, len(held) // WIDTHS[plain], lambda: held, swap=big)
    order = list(shape) if fortran else list(reversed(shape))
    steps, step = [], 1
    for size in order:
        steps.append(step)
        step *= max(size, 1)
    return Tensor(plain, tuple(shape), tuple(steps if fortran else reversed(steps)), 0, storage)


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> NumpyArray:
    """numpy's own way at pickle protocol 5."""
    made = NumpyArray()
    made.tensor = _array(shape, kind, order == "F", data)
    return made


def _scalar(kind: Any, data: Any) -> Any:
    return _array((), kind, False, data).numpy().item()


def _encoded(text: Any, coding: Any = "utf-8") -> bytes:
    """Protocol 2 writes bytes as Latin-1 text."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise WireError("bytes in a coding that is not known")
    return text.encode(coding)


def _no_bytes() -> bytes:
    """How old protocols write b''."""
    return b""


def _pairs(items: Any = ()) -> dict[Any, Any]:
    """OrderedDict and its kin: nothing, a dict, or a list of pairs."""
    if isinstance(items, dict):
        return dict(items)
    return {key_of(key): value for key, value in items}


def _set(items: Any = ()) -> set[Any]:
    return {key_of(item) for item in items}


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    return complex(float(real), float(imaginary))


def _device(kind: Any, index: Any = None) -> str:
    return str(kind) if index is None else f"{kind}:{int(index)}"


def _unread(kind: str) -> Known:
    return Known(kind, lambda *_: Unread(kind))


def _builtin(name: str, value: Any) -> dict[str, Any]:
    return {f"builtins.{name}": value, f"__builtin__.{name}": value}


def _table() -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, dtype in STORAGES.items():
        symbol = Symbol("storage", dtype)
        for module in ("torch", "torch.cuda", "torch.storage"):
            found[f"{module}.{name}Storage"] = symbol
    for dtype in (*WIDTHS, "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "float4_e2m1fn_x2"):
        found[f"torch.{dtype}"] = Symbol("dtype", dtype)
    for scheme in ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric",
                   "per_channel_affine_float_qparams"):  # fmt: skip
        found[f"torch.{scheme}"] = Symbol("scheme", scheme)
    for kind in ("torch.Tensor", "torch.nn.parameter.Buffer", "torch._tensor.Tensor", "numpy.ndarray"):
        found[kind] = Symbol("type", kind)
    functions: dict[str, Callable[..., Any]] = {
        "_rebuild_tensor": _tensor, "_rebuild_tensor_v2": _tensor, "_rebuild_tensor_v3": _typed,
        "_rebuild_parameter": _first, "_rebuild_parameter_with_state": _first, "_rebuild_qtensor": _quantized,
    }  # fmt: skip
    found |= {f"torch._utils.{name}": Known(name, function) for name, function in functions.items()}
    unread = {
        "_rebuild_sparse_tensor": "a sparse tensor", "_rebuild_sparse_csr_tensor": "a sparse tensor",
        "_rebuild_nested_tensor": "a nested tensor", "_rebuild_meta_tensor_no_storage": "a tensor without data",
    }  # fmt: skip
    found |= {f"torch._utils.{name}": _unread(kind) for name, kind in unread.items()}
    found["torch._tensor._rebuild_from_type_v2"] = Known("_rebuild_from_type_v2", _of_type)
    found["torch.nn.parameter.Parameter"] = Known("Parameter", _first)
    found["torch.Size"] = Known("Size", lambda items=(): tuple(items))
    found["torch.device"] = Known("device", _device)
    found["torch.serialization._get_layout"] = Known("_get_layout", str)
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray._reconstruct"] = Known("_reconstruct", NumpyArray)
        found[f"{core}.multiarray.scalar"] = Known("scalar", _scalar)
        found[f"{core}.numeric._frombuffer"] = Known("_frombuffer", _from_buffer)
    found["numpy.dtype"] = Known("dtype", NumpyType)
    found["_codecs.encode"] = Known("encode", _encoded)
    found["collections.OrderedDict"] = Known("OrderedDict", _pairs)
    found["collections.Counter"] = Known("Counter", _pairs)
    found["collections.defaultdict"] = Known("defaultdict", lambda factory=None, items=(): _pairs(items))
    for name in ("list", "dict", "tuple", "int", "float", "str", "bool"):
        found |= _builtin(name, Symbol("type", name))
    found |= _builtin("bytes", Known("bytes", _no_bytes))
    found |= _builtin("set", Known("set", _set))
    found |= _builtin("frozenset", Known("frozenset", lambda items=(): frozenset(_set(items))))
    found |= _builtin("complex", Known("complex", _complex))
    return found



NAMES: Mapping[str, Any] = _table()
"""'module.name' -> what it stands for."""
