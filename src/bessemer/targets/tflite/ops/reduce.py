"""Reductions, arg-max, top-k and running sums. They follow the operand's axis order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Perm
from bessemer.targets.tflite.context import Blocked, Context
from bessemer.targets.tflite.dtypes import NUMPY
from bessemer.targets.tflite.ops.common import (
    both_encoded,
    compute_as,
    optional,
    physical_axis,
    required_const,
    same_encoding,
    store,
    value,
)
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir

TYPES = {
    "SUM": {"FLOAT32", "INT32", "INT64"}, "MEAN": {"FLOAT32", "INT32", "INT64"},
    "REDUCE_MAX": {"FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16"},
    "REDUCE_MIN": {"FLOAT32", "INT32", "INT64", "INT8", "UINT8", "INT16"},
    "REDUCE_PROD": {"FLOAT32", "INT32", "INT64"},
}  # fmt: skip
WIDER = {"INT8": "INT32", "UINT8": "INT32", "INT16": "INT32", "UINT16": "INT32", "UINT32": "INT64", "BOOL": "INT32"}
CODES = {
    "ReduceSum": "SUM", "ReduceMean": "MEAN", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD", "ReduceL1": "SUM", "ReduceL2": "SUM", "ReduceLogSum": "SUM",
    "ReduceSumSquare": "SUM", "ReduceLogSumExp": "SUM",
}  # fmt: skip
FLOAT_ONLY = {"ReduceLogSum", "ReduceLogSumExp", "ReduceL2"}


def reduced_axes(ctx: Context, node: ir.Node, place: int = 1) -> list[int]:
    """Logical axes; all when none are given; [] when the node then does nothing."""
    rank = ctx.rank(value(node, 0))
    given = optional(node, place)
    none = given is None or (not ctx.is_const(given) and ctx.shape(given) == (0,))
    axes = [] if none else [int(item) for item in required_const(ctx, node, place).reshape(-1)]
    if axes:
        return sorted({axis % rank for axis in axes})
    return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))


def kept_perm(perm: Perm, axes: list[int]) -> Perm:
    """Axis order of what is left when logical `axes` are gone."""
    kept = [perm[axis] for axis in range(len(perm)) if axis not in axes]
    return tuple(sorted(kept).index(item) for item in kept)


def reduced_shape(ctx: Context, index: int, places: list[int], *, keep: bool) -> tuple[int | None, ...]:
    """Physical dims after reducing physical `places`."""
    dims = ctx.sub.tensors[index].shape
    if keep:
        return tuple(1 if place in places else dim for place, dim in enumerate(dims))
    return tuple(dim for place, dim in enumerate(dims) if place not in places)


def _integer(ctx: Context, node: ir.Node) -> bool:
    """MEAN and SUM rescale between any two encodings; extremes are picked, so that one encoding must serve both."""
    given = optional(node, 1)
    if given is not None and not ctx.is_const(given):
        return False
    if node.op_type in ("ReduceMean", "ReduceSum"):
        return both_encoded(ctx, node) and bool(reduced_axes(ctx, node))
    return node.op_type in ("ReduceMax", "ReduceMin") and same_encoding(ctx, node)


@lower(*CODES, integer=_integer)
def reduce(ctx: Context, node: ir.Node) -> None:
    """A kernel, with what comes before and after it (squares, roots, logarithms)."""
    x, y = value(node, 0), node.outputs[0]
    given = optional(node, 1)
    if given is not None and not ctx.is_const(given) and ctx.shape(given) != (0,):
        _computed_axes(ctx, node, given)
        return
    axes, keep, perm = reduced_axes(ctx, node), bool(node.attributes.get_int("keepdims", 1)), ctx.perm(x)
    if not axes:
        if node.op_type not in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
            raise Blocked("attribute", f"{node.op_type} over no axes is not a reduction")
        ctx.alias(y, ctx.tensor(x, perm), perm)
        return
    if any(ctx.shape(x)[axis] == 0 for axis in axes):
        _of_nothing(ctx, node, axes, keep=keep)
        return
    places = sorted(physical_axis(perm, axis) for axis in axes)
    order = perm if keep else kept_perm(perm, axes)
    if ctx.integer:
        inputs = [ctx.tensor(x, perm), ctx.constant(np.array(places, np.int32), "axes")]
        ctx.emit(CODES[node.op_type], inputs, [ctx.out(y, order)], keep_dims=keep)
        return
    computing = _computing(ctx, node)
    index = compute_as(ctx, ctx.tensor(x, perm), computing)
    made = Reducer(ctx, computing, places, keep=keep).run(node.op_type, index)
    store(ctx, made, ctx.out(y, order))


def _computing(ctx: Context, node: ir.Node) -> str:
    """The type with a kernel. Raises Blocked."""
    code, kind = CODES[node.op_type], ctx.type(value(node, 0))
    computing = kind if kind in TYPES[code] else WIDER.get(kind, "")
    if computing not in TYPES[code] or (node.op_type in FLOAT_ONLY and computing != "FLOAT32"):
        raise Blocked("type", f"LiteRT cannot compute {node.op_type} on {kind}")
    return computing


def _computed_axes(ctx: Context, node: ir.Node, given: ir.Value) -> None:
    """Axes that the graph computes: the kernels read them when the model runs."""
    import onnx_ir as ir

    x, y = value(node, 0), node.outputs[0]
    rank, (count,) = ctx.rank(x), ctx.shape(given)
    keep = bool(node.attributes.get_int("keepdims", 1))
    every = count == rank
    if every and 0 in ctx.shape(x):
        _of_nothing(ctx, node, list(range(rank)), keep=keep)
        return
    if 0 in ctx.shape(x) or count is None:
        raise Blocked("dynamic-argument", f"computed axes of {node.op_type}: how many must be known, none empty")
    if y.shape is None:
        y.shape = ir.Shape([None] * (rank if keep else rank - count))
    computing = _computing(ctx, node)
    index = compute_as(ctx, ctx.tensor(x), computing)
    reducer = Reducer(ctx, computing, [], keep=keep)
    reducer.axes, reducer.count = ctx.int32(given), count
    store_any(ctx, reducer.run(node.op_type, index), y)


def store_any(ctx: Context, index: int, y: ir.Value) -> None:
    """Let `y` stand in `index`, converted to its type."""
    if ctx.sub.tensors[index].type == ctx.type(y):
        ctx.alias(y, index)
    else:
        store(ctx, index, ctx.out(y))


def _of_nothing(ctx: Context, node: ir.Node, axes: list[int], *, keep: bool) -> None:
    """Reductions of no elements are constants of the standard; LiteRT's kernels leave them unset."""
    dims = ctx.shape(value(node, 0))
    shape = tuple(1 if at in axes else dim for at, dim in enumerate(dims) if keep or at not in axes)
    known = tuple(dim for dim in shape if dim is not None)
    if len(known) != len(shape) or node.op_type == "ReduceMean":
        raise Blocked("empty", f"LiteRT's {CODES[node.op_type]} does not define an empty operand")
    filled = np.full(known, neutral(node.op_type, np.dtype(NUMPY[ctx.type(node.outputs[0])])))
    ctx.alias(node.outputs[0], ctx.constant(filled, "empty"))


def neutral(op: str, dtype: np.dtype[Any]) -> Any:
    """What the standard says of a reduction of nothing."""
    if op in ("ReduceMax", "ReduceMin"):
        low = op == "ReduceMax"
        if dtype.kind == "b":
            return np.bool_(not low)
        if dtype.kind == "f":
            return dtype.type(-np.inf if low else np.inf)
        return dtype.type(np.iinfo(dtype).min if low else np.iinfo(dtype).max)
    return dtype.type({"ReduceProd": 1, "ReduceLogSum": -np.inf, "ReduceLogSumExp": -np.inf}.get(op, 0))


class Reducer:
    """The steps of a reduction on physical tensors; `axes` and `count` are set where the axes are computed."""

    def __init__(self, ctx: Context, kind: str, places: list[int], *, keep: bool) -> None:
        self.ctx, self.kind, self.keep, self.places = ctx, kind, keep, places
        self.axes, self.count = -1, 0

    def shape(self, x: int, *, keep: bool) -> tuple[int | None, ...]:
        """Physical dims of the result, None each where the axes are computed."""
        if self.axes < 0:
            return reduced_shape(self.ctx, x, self.places, keep=keep)
        return (None,) * (len(self.ctx.sub.tensors[x].shape) - (0 if keep else self.count))

    def run(self, op: str, x: int) -> int:
        """Index of the result."""
        if op == "ReduceL1":
            return self.sum(self.magnitude(x))
        if op in ("ReduceL2", "ReduceSumSquare"):
            total = self.sum(self.two("MUL", x, x))
            return self.one("SQRT", total) if op == "ReduceL2" else total
        if op == "ReduceLogSum":
            return self.one("LOG", self.sum(x))
        if op == "ReduceLogSumExp":
            return self.log_sum_exp(x)
        return self.reduce(CODES[op], x, keep=self.keep)

    def log_sum_exp(self, x: int) -> int:
        """max + log sum e^(x - max): exponentials never overflow."""
        top = self.reduce("REDUCE_MAX", x, keep=True)
        shifted = self.ctx.emit("SUB", [x, top], [self.ctx.temp(self.kind, self.ctx.sub.tensors[x].shape, "shifted")])
        total = self.one("LOG", self.sum(self.one("EXP", shifted)))
        peak = top if self.keep else self.reduce("REDUCE_MAX", x, keep=False)
        return self.two("ADD", total, peak)

    def magnitude(self, x: int) -> int:
        """|x|; the kernel has no INT64."""
        return self.two("MAXIMUM", x, self.one("NEG", x)) if self.kind == "INT64" else self.one("ABS", x)

    def sum(self, x: int) -> int:
        """SUM over the axes."""
        return self.reduce("SUM", x, keep=self.keep)

    def reduce(self, code: str, x: int, *, keep: bool) -> int:
        """The kernel."""
        shape, axes = self.shape(x, keep=keep), self.axes
        if axes < 0:
            axes = self.ctx.constant(np.array(self.places, np.int32), "axes")
        return self.ctx.emit(code, [x, axes], [self.ctx.temp(self.kind, shape, code.lower())], keep_dims=keep)

    def one(self, code: str, x: int) -> int:
        """A unary operator of the same shape."""
        return self.ctx.emit(code, [x], [self.ctx.temp(self.kind, self.ctx.sub.tensors[x].shape, code.lower())])

    def two(self, code: str, a: int, b: int) -> int:
        """A binary operator of the same shape."""
        return self.ctx.emit(code, [a, b], [self.ctx.temp(self.kind, self.ctx.sub.tensors[a].shape, code.lower())])


@lower("ArgMax", "ArgMin")
def arg_extreme(ctx: Context, node: ir.Node) -> None:
    """The first extreme; the last one by turning the axis round."""
    x, y = value(node, 0), node.outputs[0]
    kind, perm = ctx.type(x), ctx.perm(x)
    if kind not in ("FLOAT32", "INT32", "INT8", "UINT8"):
        raise Blocked("type", f"LiteRT's ARG_MAX has no {kind} kernel")
    axis, keep = (node.attributes.get_int("axis", 0) or 0) % ctx.rank(x), bool(node.attributes.get_int("keepdims", 1))
    size, place = ctx.shape(x)[axis], physical_axis(perm, axis)
    code = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    index, last = ctx.tensor(x, perm), node.attributes.get_int("select_last_index", 0)
    if may_be_nan(x) and kind == "FLOAT32" and size is not None and not last:
        index = _ordered(ctx, index, place, size, -np.inf if code == "ARG_MAX" else np.inf)
    if last:
        if size is None:
            raise Blocked("dynamic-shape", "select_last_index needs the size of its axis")
        turned = ctx.temp(kind, ctx.sub.tensors[index].shape, "turned")
        index = ctx.emit("REVERSE_V2", [index, ctx.constant(np.array([place], np.int32), "axis")], [turned])
    shape = reduced_shape(ctx, index, [place], keep=False)
    found = ctx.emit(
        code, [index, ctx.constant(np.int32(place), "axis")], [ctx.temp("INT64", shape, "place")], output_type=4
    )
    if last:
        found = ctx.emit("SUB", [ctx.constant(np.int64((size or 1) - 1)), found], [ctx.temp("INT64", shape, "last")])
    if keep:
        found = ctx.reshape(found, reduced_shape(ctx, index, [place], keep=True))
    ctx.alias(y, found, perm if keep else kept_perm(perm, [axis]))


OUT_OF_DOMAIN = frozenset({"Log", "Sqrt", "Div", "Pow", "Acos", "Asin", "Acosh", "Atanh", "Mod"})
"""Operators that make NaN of finite numbers."""


def may_be_nan(x: ir.Value) -> bool:
    """Whether the operator that makes `x` leaves the numbers for some of its operands."""
    maker = x.producer()
    return maker is not None and maker.op_type in OUT_OF_DOMAIN


def _ordered(ctx: Context, index: int, place: int, size: int, worst: float) -> int:
    """NaN as ONNX Runtime ranks it: never the extreme, but where it stands first (LiteRT's kernels disagree on it)."""
    shape = ctx.sub.tensors[index].shape
    ranks = np.full(size, worst, np.float32)
    ranks[:1] = -worst
    spread = ranks.reshape([size if axis == place else 1 for axis in range(len(shape))])
    absent = ctx.emit("NOT_EQUAL", [index, index], [ctx.temp("BOOL", shape, "nan")])
    operands = [absent, ctx.constant(spread, "rank"), index]
    return ctx.emit("SELECT_V2", operands, [ctx.temp("FLOAT32", shape, "ordered")])


@lower("Hardmax")
def hardmax(ctx: Context, node: ir.Node) -> None:
    """One at the first maximum."""
    from bessemer.targets.tflite.ops.unary import move_last

    x = value(node, 0)
    axis = node.attributes.get_int("axis", -1)
    index, perm = move_last(ctx, x, -1 if axis is None else axis)
    shape = ctx.sub.tensors[index].shape
    if ctx.type(x) != "FLOAT32" or shape[-1] is None:
        raise Blocked("type", "Hardmax needs float32 and a known size of its axis")
    place = ctx.constant(np.int32(len(shape) - 1), "axis")
    found = ctx.emit("ARG_MAX", [index, place], [ctx.temp("INT32", shape[:-1], "place")], output_type=2)
    depth, on, off = ctx.constant(np.int32(shape[-1])), ctx.constant(np.float32(1)), ctx.constant(np.float32(0))
    ctx.emit("ONE_HOT", [found, depth, on, off], [ctx.out(node.outputs[0], perm)], axis=-1)


@lower("TopK")
def top_k(ctx: Context, node: ir.Node) -> None:
    """Along the last physical axis; the smallest of floats as the largest of their negatives."""
    from bessemer.targets.tflite.ops.unary import move_last

    x = value(node, 0)
    kind = ctx.type(x)
    if kind not in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8"):
        raise Blocked("type", f"LiteRT's TOPK_V2 has no {kind} kernel")
    axis, largest = node.attributes.get_int("axis", -1), node.attributes.get_int("largest", 1)
    if not largest and kind not in ("FLOAT32", "INT32", "INT64"):
        raise Blocked("type", f"the smallest of {kind} cannot be had by negation")
    index, perm = move_last(ctx, x, -1 if axis is None else axis)
    if not largest:
        index = ctx.emit("NEG", [index], [ctx.temp(kind, ctx.sub.tensors[index].shape, "neg")])
    held = ctx.const(value(node, 1))
    count = None if held is None else int(held.reshape(-1)[0])
    k = ctx.reshape(ctx.int32(value(node, 1)), ()) if count is None else ctx.constant(np.int32(count), "k")
    shape = (*ctx.sub.tensors[index].shape[:-1], count)
    best, places = ctx.temp(kind, shape, "best"), ctx.temp("INT32", shape, "places")
    ctx.emit("TOPK_V2", [index, k], [best, places])
    if not largest:
        best = ctx.emit("NEG", [best], [ctx.temp(kind, shape, "best")])
    ctx.alias(node.outputs[0], best, perm)
    if len(node.outputs) > 1:
        ctx.alias(node.outputs[1], ctx.cast(places, "INT64"), perm)


@lower("CumSum")
def cum_sum(ctx: Context, node: ir.Node) -> None:
    """Along one constant axis."""
    x, kind = value(node, 0), ctx.type(value(node, 0))
    if kind not in ("FLOAT32", "INT32", "INT64"):
        raise Blocked("type", f"LiteRT's CUMSUM has no {kind} kernel")
    perm = ctx.perm(x)
    axis = int(required_const(ctx, node, 1).reshape(-1)[0])
    place = ctx.constant(np.int32(physical_axis(perm, axis)), "axis")
    flags = {name: bool(node.attributes.get_int(name, 0)) for name in ("exclusive", "reverse")}
    ctx.emit("CUMSUM", [ctx.tensor(x, perm), place], [ctx.out(node.outputs[0], perm)], **flags)
