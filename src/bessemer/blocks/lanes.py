"""Sixteen numbers side by side as one value of compiled code: what the searches of the k-quants compute with.

Encoders put one block in each lane, so a sum over a block keeps the order it has in ggml's C, and the bytes come out equal.
Inside functions made by `compiled`, `load` gives sixteen float32 or int32 as one value; arithmetic, comparisons (masks) and
the functions below work on it; a Python number beside it counts as float32 (or int32). LLVM maps the value to what the
processor has (one AVX-512 register, two of AVX2, four of SSE or NEON). Nothing is contracted or reordered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model
from numba.np import arrayobj

LANES = 16

Value: TypeAlias = Any
"""A value of sixteen lanes, as compiled code sees it; and the scalars and arrays around it."""

F = TypeVar("F", bound=Callable[..., Any])


class _Kept(FunctionCache):  # type: ignore[misc]  # numba is untyped
    """numba's cache on disk, but for all sources of this package: its own looks at the function's file alone."""

    def _index_key(self, *args: Any) -> Any:
        return (*super()._index_key(*args), _sources())


@lru_cache(maxsize=1)
def _sources() -> str:
    """Hash of the sources that compiled functions are made from."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def compiled(function: F) -> F:
    """The function compiled by numba for this processor: IEEE arithmetic as written, no lock held, kept on disk."""
    made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    # numba raises RuntimeError where it finds no folder to write to: such a process compiles anew
    with suppress(RuntimeError):
        made._cache = _Kept(function)
    return cast(F, made)


def inlined(function: F) -> F:
    """As `compiled`, for a small function that only compiled ones call: it becomes part of each, Python cannot call it."""
    made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=True)
    return cast(F, made(function))


class Lanes(types.Type):
    """numba's type for sixteen float32, int32 or bits."""

    def __init__(self, element: str) -> None:
        self.element = element
        super().__init__(name=f"Lanes({element})")


FLOATS, INTS, MASK = Lanes("float32"), Lanes("int32"), Lanes("bit")

_ELEMENTS = {"float32": ir.FloatType(), "int32": ir.IntType(32), "bit": ir.IntType(1)}
_SCALARS = {FLOATS: types.float32, INTS: types.int32}


def _vector(kind: Lanes) -> ir.VectorType:
    return ir.VectorType(_ELEMENTS[kind.element], LANES)


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]  # numba is untyped
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, _vector(kind))


def _spread(builder: Any, value: Any) -> Any:
    """A scalar in every lane; lanes as they are."""
    if isinstance(value.type, ir.VectorType):
        return value
    first = builder.insert_element(ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


# --- operators


def _declare(symbol: Any, kinds: tuple[Lanes, ...], result: Callable[[Lanes], Lanes], emit: Callable[..., Any]) -> None:
    """Teaches numba a binary operator between lanes, and lanes and scalars."""

    class Template(AbstractTemplate):  # type: ignore[misc]  # numba is untyped
        def generic(self, args: Any, keywords: Any) -> Any:
            held = [arg for arg in args if arg in kinds]
            if len(args) != 2 or not held:
                return None
            wanted = [held[0] if arg in kinds else _SCALARS.get(held[0]) for arg in args]
            return None if None in wanted else signature(result(held[0]), *wanted)

    infer_global(symbol)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, *(_spread(builder, arg) for arg in args))

    for kind in kinds:
        lower_builtin(symbol, kind, kind)(lower)
        if kind in _SCALARS:
            lower_builtin(symbol, kind, _SCALARS[kind])(lower)
            lower_builtin(symbol, _SCALARS[kind], kind)(lower)


def _arithmetic(name: str, floats: str | None, integers: str | None, masks: bool) -> None:
    kinds = tuple(kind for kind, has in ((FLOATS, floats), (INTS, integers), (MASK, masks)) if has)

    def emit(builder: Any, left: Any, right: Any) -> Any:
        made = floats if isinstance(left.type.element, ir.FloatType) else integers
        return getattr(builder, str(made))(left, right)

    for symbol in (getattr(operator, name), getattr(operator, "i" + name.rstrip("_"))):
        _declare(symbol, kinds, lambda kind: kind, emit)


def _comparison(name: str, sign: str) -> None:
    def emit(builder: Any, left: Any, right: Any) -> Any:
        if not isinstance(left.type.element, ir.FloatType):
            return builder.icmp_signed(sign, left, right)
        return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, left, right)

    _declare(getattr(operator, name), (FLOATS, INTS), lambda kind: MASK, emit)


for _name, _floats, _integers in (
    ("add", "fadd", "add"), ("sub", "fsub", "sub"), ("mul", "fmul", "mul"), ("truediv", "fdiv", None),
    ("and_", None, "and_"), ("or_", None, "or_"), ("lshift", None, "shl"), ("rshift", None, "ashr"),
):  # fmt: skip
    _arithmetic(_name, _floats, _integers, masks=_name.endswith("_"))
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _comparison(_name, _sign)


@infer_global(operator.neg)
class _Negative(AbstractTemplate):  # type: ignore[misc]  # numba is untyped
    def generic(self, args: Any, keywords: Any) -> Any:
        return signature(FLOATS, FLOATS) if args == (FLOATS,) else None


@lower_builtin(operator.neg, FLOATS)  # type: ignore[untyped-decorator]
def _negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


# --- memory

_HELD = {types.float32: FLOATS, types.int32: INTS, types.uint8: INTS}


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to sixteen elements: element `at` of an array with one axis, row `at` of one with two."""
    data = arrayobj.make_array(kind)(context, builder, array).data
    at = builder.mul(at, at.type(LANES)) if kind.ndim == 2 else at
    held = ir.VectorType(context.get_data_type(kind.dtype), LANES)
    return builder.bitcast(builder.gep(data, [at]), held.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, at: Any) -> Any:
    """Row `at` of an array [rows, 16], or 16 elements from `at` of an array [n]. uint8 become int32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = builder.load(_place(context, builder, sig.args[0], *args))
        found.align = sig.args[0].dtype.bitwidth // 8
        return builder.zext(found, _vector(INTS)) if sig.args[0].dtype == types.uint8 else found

    return _HELD[array.dtype](array, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """The reverse of `load`. int32 stored as uint8 keep their low byte."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array, at, value = args
        kept = builder.trunc(value, ir.VectorType(ir.IntType(8), LANES)) if sig.args[0].dtype == types.uint8 else value
        builder.store(kept, _place(context, builder, sig.args[0], array, at)).align = sig.args[0].dtype.bitwidth // 8

    return types.void(array, types.int64, _HELD[array.dtype]), emit


# --- functions


def _called(builder: Any, name: str, value: Any) -> Any:
    """LLVM's own function of sixteen floats."""
    kind = ir.FunctionType(value.type, [value.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32"), [value])


@intrinsic  # type: ignore[untyped-decorator]
def magnitude(typing: Any, value: Any) -> Any:
    """|float|, the sign bit cleared."""
    return FLOATS(FLOATS), lambda context, builder, sig, args: _called(builder, "llvm.fabs", args[0])


@intrinsic  # type: ignore[untyped-decorator]
def root(typing: Any, value: Any) -> Any:
    """Square root, correctly rounded."""
    return FLOATS(FLOATS), lambda context, builder, sig, args: _called(builder, "llvm.sqrt", args[0])


@intrinsic  # type: ignore[untyped-decorator]
def bits(typing: Any, value: Any) -> Any:
    """The 32 bits of a float as an integer."""
    return INTS(FLOATS), lambda context, builder, sig, args: builder.bitcast(args[0], _vector(INTS))


@intrinsic  # type: ignore[untyped-decorator]
def real(typing: Any, value: Any) -> Any:
    """The float with these 32 bits."""
    return FLOATS(INTS), lambda context, builder, sig, args: builder.bitcast(args[0], _vector(FLOATS))


@intrinsic  # type: ignore[untyped-decorator]
def floating(typing: Any, value: Any) -> Any:
    """int32 as float32."""
    return FLOATS(INTS), lambda context, builder, sig, args: builder.sitofp(args[0], _vector(FLOATS))


@intrinsic  # type: ignore[untyped-decorator]
def whole(typing: Any, value: Any) -> Any:
    """float32 that are whole numbers, as int32."""
    return INTS(FLOATS), lambda context, builder, sig, args: builder.fptosi(args[0], _vector(INTS))


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing: Any, value: Any) -> Any:
    """A float32 or int32 in every lane."""
    kind = INTS if isinstance(value, types.Integer) else FLOATS
    return kind(_SCALARS[kind]), lambda context, builder, sig, args: _spread(builder, args[0])


@intrinsic  # type: ignore[untyped-decorator]
def unsigned_shift(typing: Any, value: Any, by: Any) -> Any:
    """int32 >> by, zeros coming in."""
    return INTS(INTS, types.int32), lambda context, builder, sig, args: builder.lshr(args[0], _spread(builder, args[1]))


@intrinsic  # type: ignore[untyped-decorator]
def some(typing: Any, mask: Any) -> Any:
    """Whether any lane's bit is set."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        held = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", held, held.type(0))

    return types.boolean(MASK), emit


@intrinsic  # type: ignore[untyped-decorator]
def pick(typing: Any, mask: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where the mask is set, else `no` (either may be a scalar, not both)."""
    kind = yes if isinstance(yes, Lanes) else no
    takes = [held if isinstance(held, Lanes) else _SCALARS[kind] for held in (yes, no)]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], _spread(builder, args[1]), _spread(builder, args[2]))

    return kind(MASK, *takes), emit


# --- what ggml's C does with single numbers

_SHIFT = np.float32(12582912.0)


@inlined
def lowest(left: Value, right: Value) -> Value:
    """left < right ? left : right"""
    return pick(left < right, left, right)


@inlined
def highest(left: Value, right: Value) -> Value:
    """left > right ? left : right"""
    return pick(left > right, left, right)


@inlined
def nearest(value: Value) -> Value:
    """ggml's nearest_int: to the nearest whole number, ties to even; beyond 22 bits as its bit trick wraps."""
    return (bits(value + _SHIFT) & 0x007FFFFF) - 0x00400000


@inlined
def level(value: Value, low: Value, high: Value) -> Value:
    """nearest_int kept within [low, high], as float32. Clamped in the shifted form, which spares two conversions."""
    shifted = (bits(value + _SHIFT) & 0x007FFFFF) | 0x4B000000
    return real(lowest(highest(shifted, 0x4B400000 + low), 0x4B400000 + high)) - _SHIFT


@inlined
def to_half(value: Value) -> Value:
    """float32 -> bits of float16, to nearest even; NaN becomes 0x7E00 (as ggml-impl.h does it, after M. Dukhan's FP16)."""
    base = (magnitude(value) * np.float32(2.0**112)) * np.float32(2.0**-110)
    doubled = bits(value) + bits(value)
    # compared without the sign bit's weight: lanes are signed
    exponent = highest(unsigned_shift(doubled, 24), 0x71)
    rounded = bits(real((exponent << 23) + 0x07800000) + base)
    number = (unsigned_shift(rounded, 13) & 0x7C00) + (rounded & 0x0FFF)
    sign = unsigned_shift(bits(value), 16) & 0x8000
    return sign | pick(magnitude(value) == magnitude(value), number, 0x7E00)


@inlined
def from_half(half: Value) -> Value:
    """Bits of float16 -> float32."""
    doubled = half << 17
    normal = real(unsigned_shift(doubled, 4) + 0x70000000) * np.float32(2.0**-112)
    tiny = real(unsigned_shift(doubled, 17) | 0x3F000000) - np.float32(0.5)
    number = pick(unsigned_shift(doubled, 27) == 0, bits(tiny), bits(normal))
    return real(number | ((half & 0x8000) << 16))


# --- blocks into lanes and back


@inlined
def rows(count: int, like: Value) -> Value:
    """Space for [count, 16] numbers of `like`'s type (32 bits), on a boundary of 64 bytes."""
    space = np.empty((count + 1) * LANES, like.dtype)
    start = (-space.ctypes.data % 64) // 4
    return space[start : start + count * LANES].reshape(count, LANES)


@inlined
def gather(source: Value, block: int, period: int, into: Value) -> None:
    """Blocks `block`.. + 15 of `source` (flat, [period] blocks, which repeat) into the columns of `into` [elements, 16]."""
    size = len(into)
    for lane in range(LANES):
        start = (block + lane) % period * size
        for i in range(size):
            into[i, lane] = source[start + i]


@inlined
def scatter(columns: Value, out: Value, block: int) -> None:
    """Columns of `columns` [bytes, 16] as blocks `block`, ... of `out` (flat), as many as it has."""
    size = len(columns)
    for lane in range(min(LANES, len(out) // size - block)):
        start = (block + lane) * size
        for i in range(size):
            out[start + i] = columns[i, lane]
