"""Lanes that are neighbours in one block: what encoders and decoders need that do not search (beside `blocks.lanes`).

A block's greatest element is found across the lanes; bytes are read and written sixteen at a time wherever they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic
from numba.np import arrayobj

from bessemer.blocks.lanes import (
    INTS,
    LANES,
    MASK,
    Value,
    bits,
    inlined,
    load,
    magnitude,
    pick,
    real,
    whole,
)

_F32, _U32 = np.float32, np.uint32
_INT = ir.IntType(32)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def _unary(argument: Any, result: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """A function of one value, by the LLVM instructions that it is."""

    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, value: Any) -> Any:
        return result(argument), lambda context, builder, sig, args: emit(builder, args[0])

    return function


def _reduction(name: str) -> Callable[[Any, Any], Any]:
    def emit(builder: Any, value: Any) -> Any:
        full = f"llvm.vector.reduce.{name}.v{LANES}i32"
        held = builder.module.globals.get(full) or ir.Function(builder.module, ir.FunctionType(_INT, [value.type]), full)
        return builder.call(held, [value])

    return emit


def _first(builder: Any, value: Any) -> Any:
    name = "llvm.cttz.i32"
    kind = ir.FunctionType(_INT, [_INT, ir.IntType(1)])
    held = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.zext(builder.call(held, [value, ir.IntType(1)(0)]), ir.IntType(64))


word = _unary(types.float32, types.uint32, lambda b, v: b.bitcast(v, _INT))
"""The bits of one float32."""
single = _unary(types.uint32, types.float32, lambda b, v: b.bitcast(v, ir.FloatType()))
"""The float32 of these bits."""
most = _unary(INTS, types.int32, _reduction("smax"))
"""The greatest lane."""
least = _unary(INTS, types.int32, _reduction("smin"))
set_bits = _unary(MASK, types.uint32, lambda b, v: b.zext(b.bitcast(v, ir.IntType(LANES)), _INT))
"""A mask as a number: bit i says whether lane i is set."""
from_bits = _unary(types.uint32, MASK, lambda b, v: b.bitcast(b.trunc(v, ir.IntType(LANES)), _BITS))
"""The reverse: lane i from bit i."""
first_bit = _unary(types.uint32, types.int64, _first)
"""Index of the lowest bit that is set; 32 where none is."""
any_int = _unary(types.int32, INTS, lambda b, v: _broadcast(b, v))
"""An int32 in every lane."""


def _broadcast(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(_INT, LANES)
    held = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(held, held, ir.Constant(kind, [0] * LANES))


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any, element: Any) -> Any:
    data = arrayobj.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), element.as_pointer())


_PAIRS = ir.VectorType(ir.IntType(16), LANES)


@intrinsic  # type: ignore[untyped-decorator]
def load_pairs(typing: Any, array: Any, at: Any) -> Any:
    """Sixteen little-endian pairs of bytes from byte `at`, as int32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = builder.load(_address(context, builder, sig.args[0], args[0], args[1], _PAIRS))
        found.align = 1
        return builder.zext(found, ir.VectorType(_INT, LANES))

    return INTS(array, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def store_pairs(typing: Any, array: Any, at: Any, value: Any) -> Any:
    """The two low bytes of each lane from byte `at`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _address(context, builder, sig.args[0], args[0], args[1], _PAIRS)
        builder.store(builder.trunc(args[2], _PAIRS), place).align = 1

    return types.void(array, types.int64, INTS), emit


def _reader(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            found = builder.load(_address(context, builder, sig.args[0], args[0], args[1], ir.IntType(width)))
            found.align = 1
            return builder.zext(found, _INT) if width < 32 else found

        return types.uint32(array, types.int64), emit

    return function


def _writer(width: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, array: Any, at: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.trunc(args[2], ir.IntType(width)) if width < 32 else args[2]
            builder.store(value, _address(context, builder, sig.args[0], args[0], args[1], value.type)).align = 1

        return types.void(array, types.int64, types.uint32), emit

    return function


def _rows(count: int) -> Any:
    """A function that joins `count` rows of an int8 array [rows, 16 / count]."""
    kind = ir.VectorType(ir.IntType(8), LANES // count)

    def joined(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = [builder.mul(index, index.type(LANES // count)) for index in args[1]]
        places = [_address(context, builder, sig.args[0], args[0], start, kind) for start in at]
        parts = [builder.load(place) for place in places]
        for part in parts:
            part.align = 1
        while len(parts) > 1:
            parts = [_both(builder, low, high) for low, high in zip(parts[::2], parts[1::2], strict=True)]
        return builder.sext(parts[0], ir.VectorType(_INT, LANES))

    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, array: Any, rows: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            indices = [builder.extract_value(args[1], i) for i in range(count)]
            return joined(context, builder, sig, (args[0], indices))

        return INTS(array, UniTuple(types.int64, count)), emit

    return function


def _both(builder: Any, low: Any, high: Any) -> Any:
    """Two vectors as one."""
    order = ir.VectorType(_INT, 2 * low.type.count)
    return builder.shuffle_vector(low, high, ir.Constant(order, list(range(order.count))))


two_rows, four_rows = _rows(2), _rows(4)
"""(array, (index, ...)): rows of int8, one behind the other, as int32."""
pair, put_pair = _reader(16), _writer(16)
"""Two bytes from byte `at`, little endian, as uint32; and back."""
four, put_four = _reader(32), _writer(32)
"""Four bytes."""

# -- one number per block


@inlined
def half(value: Value) -> Value:
    """float32 -> bits of float16, to nearest even, as uint32; NaN is 0x7E00 with its sign, as ggml writes it."""
    held = word(value)
    size = _U32(held & _U32(0x7FFFFFFF))
    odd = _U32(_U32(size >> _U32(13)) & _U32(1))
    normal = _U32(_U32(_U32(size + odd) - _U32(0x38000000 - 0xFFF)) >> _U32(13))
    small = _U32(word(_F32(single(size) + _F32(0.5))) - _U32(0x3F000000))  # the addition rounds
    found = small if size < _U32(0x38800000) else normal
    found = _U32(0x7C00) if size >= _U32(0x477FF000) else found
    found = _U32(0x7E00) if size > _U32(0x7F800000) else found
    return _U32(found | _U32(_U32(held >> _U32(16)) & _U32(0x8000)))


@inlined
def read_half(data: Value, at: int) -> Value:
    """The float16 at byte `at` as float32."""
    held = pair(data, at)
    doubled = _U32(held << _U32(17))
    normal = _F32(single(_U32(_U32(doubled >> _U32(4)) + _U32(0x70000000))) * _F32(2.0**-112))
    tiny = _F32(single(_U32(_U32(doubled >> _U32(17)) | _U32(0x3F000000))) - _F32(0.5))
    size = word(tiny) if doubled < _U32(1 << 27) else word(normal)
    return single(_U32(size | _U32(_U32(held & _U32(0x8000)) << _U32(16))))


@inlined
def inverse(value: Value) -> Value:
    """1 / value; 0 for 0."""
    return _F32(_F32(1) / value) if value != _F32(0) else _F32(0)


# -- across a block


@inlined
def rounded(values: Value) -> Value:
    """To the nearest integer, halves away from zero (C's roundf): the greatest float below a half is added, the rest cut."""
    return whole(values + real((bits(values) & -0x80000000) | 0x3EFFFFFF))


@inlined
def greatest(x: Value, at: int, count: int) -> Value:
    """The greatest magnitude of `count` floats (a multiple of 16) from `at`."""
    top = bits(magnitude(load(x, at)))
    for i in range(LANES, count, LANES):
        held = bits(magnitude(load(x, at + i)))  # ordered as magnitudes are
        top = pick(held > top, held, top)
    return single(_U32(most(top)))


@inlined
def first_of(x: Value, at: int, value: Value) -> Value:
    """The first of 32 floats from `at` that equals value: the sign of a zero, or of a magnitude's owner, comes with it."""
    low, high = set_bits(load(x, at) == value), set_bits(load(x, at + LANES) == value)
    return x[at + first_bit(_U32(low | _U32(high << _U32(16))))]


@inlined
def farthest(x: Value, at: int) -> Value:
    """The first of 32 floats from `at` with the greatest magnitude; +0 where all are zeros."""
    top = greatest(x, at, 32)
    low, high = set_bits(magnitude(load(x, at)) == top), set_bits(magnitude(load(x, at + LANES)) == top)
    found = x[at + first_bit(_U32(low | _U32(high << _U32(16))))]
    return found if top > _F32(0) else _F32(0)


@inlined
def _ordered(values: Value) -> Value:
    """Integers ordered as the floats are."""
    held = bits(values)
    return pick(held < 0, -1 - (held & 0x7FFFFFFF), held)


@inlined
def _unordered(held: Value) -> Value:
    return single(_U32(held) if held >= np.int32(0) else _U32(_U32(held) ^ _U32(0x7FFFFFFF)))


@inlined
def extremes(x: Value, at: int) -> Value:
    """The first least and the first greatest of 32 floats from `at`."""
    a, b = _ordered(load(x, at)), _ordered(load(x, at + LANES))
    low, high = least(pick(a < b, a, b)), most(pick(a > b, a, b))
    return first_of(x, at, _unordered(low)), first_of(x, at, _unordered(high))
