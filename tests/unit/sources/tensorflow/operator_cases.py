"""Cases of TensorFlow operators at random: shapes, types, attributes, broadcasting, edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.unit.sources.tensorflow.trial import Array, Case

Maker = Callable[[np.random.Generator], Case]
MAKERS: dict[str, Maker] = {}


def cases_of(*names: str) -> Callable[[Callable[[np.random.Generator, str], Case]], Any]:
    """Register a function that makes cases of the operators named."""

    def register(make: Callable[[np.random.Generator, str], Case]) -> Any:
        for name in names:
            MAKERS[name] = lambda rng, name=name: make(rng, name)
        return make

    return register


def shape_of(rng: np.random.Generator, low: int = 0, high: int = 4, most: int = 5) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, most + 1, rng.integers(low, high + 1)))


def reals(
    rng: np.random.Generator, shape: tuple[int, ...], low: float = -3, high: float = 3, dtype: str = "f4"
) -> Array:
    return rng.uniform(low, high, shape).astype(dtype)


def wholes(
    rng: np.random.Generator, shape: tuple[int, ...], low: int = -9, high: int = 10, dtype: str = "i4"
) -> Array:
    if np.dtype(dtype).kind == "u":
        low = max(low, 0)
    return rng.integers(low, high, shape).astype(dtype)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype == "?":
        return rng.integers(0, 2, shape).astype(bool)
    return reals(rng, shape, dtype=dtype) if np.dtype(dtype).kind == "f" else wholes(rng, shape, dtype=dtype)


def pick(rng: np.random.Generator, *items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


def pair(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast."""
    whole = shape_of(rng)
    shapes = []
    for _ in range(2):
        kept = tuple(1 if rng.random() < 0.25 else dim for dim in whole)
        shapes.append(kept[int(rng.integers(0, len(kept) + 1)) :] if rng.random() < 0.4 else kept)
    return (whole, shapes[1]) if rng.random() < 0.5 else (shapes[0], whole)


DOMAINS = {
    "Sqrt": (0, 9),
    "Rsqrt": (0.1, 9),
    "Log": (0.01, 9),
    "Log1p": (-0.9, 9),
    "Asin": (-1, 1),
    "Acos": (-1, 1),
    "Acosh": (1, 9),
    "Atanh": (-0.95, 0.95),
    "Tan": (-1.2, 1.2),
}


@cases_of(
    "Sqrt",
    "Rsqrt",
    "Exp",
    "Log",
    "Log1p",
    "Expm1",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Tanh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Erf",
    "Erfc",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Elu",
    "Selu",
    "Relu6",
    "Ceil",
    "Floor",
    "Rint",
    "IsNan",
    "IsInf",
    "IsFinite",
    "Reciprocal",
    "Inv",
)
def unary_real(rng: np.random.Generator, op: str) -> Case:
    x = reals(rng, shape_of(rng), *DOMAINS.get(op, (-5, 5)))
    edges = op in (
        "IsNan",
        "IsInf",
        "IsFinite",
        "Relu6",
        "Ceil",
        "Floor",
        "Sigmoid",
        "Tanh",
        "Exp",
        "Log1p",
        "Log",
    )
    if edges and x.size and rng.random() < 0.5:
        x.reshape(-1)[0] = (
            pick(rng, np.inf, -np.inf, np.nan) if op.startswith("Is") else pick(rng, np.inf, 0.0, 0.5)
        )
    if op in ("Log1p", "Expm1") and rng.random() < 0.3:
        x = (x * 1e-4).astype(np.float32)
    return Case(
        op,
        {"features" if op in ("Softplus", "Softsign", "Elu", "Selu", "Relu6") else "x": x},
        close=(2e-5, 2e-6),
    )


@cases_of(
    "Abs",
    "Neg",
    "Sign",
    "Square",
    "Round",
    "Relu",
    "ZerosLike",
    "OnesLike",
    "Rank",
    "Size",
    "Shape",
    "Identity",
    "Snapshot",
    "StopGradient",
    "DeepCopy",
)
def unary_any(rng: np.random.Generator, op: str) -> Case:
    kind = pick(rng, "f4", "f8") if op == "Round" else pick(rng, "f4", "i4", "f4", "i8", "f8")
    name = {
        "Relu": "features",
        "Rank": "input",
        "Size": "input",
        "Shape": "input",
        "Identity": "input",
        "Snapshot": "input",
        "StopGradient": "input",
    }.get(op, "x")
    attrs = {"out_type": pick(rng, np.int32, np.int64)} if op in ("Size", "Shape") else {}
    return Case(op, {name: numbers(rng, shape_of(rng), kind)}, attrs)


@cases_of(
    "Add",
    "AddV2",
    "Sub",
    "Mul",
    "Maximum",
    "Minimum",
    "SquaredDifference",
    "Equal",
    "NotEqual",
    "Less",
    "LessEqual",
    "Greater",
    "GreaterEqual",
)
def binary_any(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    kind = pick(rng, "f4", "f4", "i4", "i8", "f8", "f2")
    low = {"x": numbers(rng, first, kind), "y": numbers(rng, second, kind)}
    if np.dtype(kind).kind == "f" and rng.random() < 0.3 and low["x"].size:
        low["x"].reshape(-1)[0] = np.inf
    return Case(op, low)


@cases_of("RealDiv", "Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod")
def division(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    kind = pick(rng, "f4", "f8") if op == "RealDiv" else pick(rng, "i4", "i8", "f4")
    if op.startswith("Truncate"):
        kind = pick(rng, "i4", "i8")
    y = numbers(rng, second, kind)
    y = np.where(y == 0, np.ones((), y.dtype), y).astype(kind)
    x = numbers(rng, first, kind)
    return Case(op, {"x": x * np.asarray(3, x.dtype), "y": y})


@cases_of("DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py")
def guarded(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    x, y = reals(rng, first), reals(rng, second, 0.1, 4)
    for held in (x, y):
        held[rng.random(held.shape) < 0.3] = 0
    return Case(op, {"x": x, "y": y})


@cases_of("Pow")
def power(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    if rng.random() < 0.5:
        return Case(op, {"x": wholes(rng, first, -4, 5), "y": wholes(rng, second, 0, 5)})
    return Case(op, {"x": reals(rng, first, 0.1, 4), "y": reals(rng, second)})


@cases_of("Atan2")
def atan2(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    y, x = reals(rng, first), reals(rng, second)
    for held in (y, x):
        held[rng.random(held.shape) < 0.2] = pick(rng, 0.0, -0.0, np.inf, -np.inf)
    return Case(op, {"y": y, "x": x})


@cases_of("LogicalAnd", "LogicalOr")
def logical(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    return Case(op, {"x": numbers(rng, first, "?"), "y": numbers(rng, second, "?")})


@cases_of("LogicalNot")
def negation(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"x": numbers(rng, shape_of(rng), "?")})


@cases_of("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    kind = pick(rng, "i4", "i8", "u1", "i1", "u4")
    return Case(op, {"x": wholes(rng, first, -99, 99, kind), "y": wholes(rng, second, -99, 99, kind)})


@cases_of("Invert")
def inverted(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"x": wholes(rng, shape_of(rng), -99, 99, pick(rng, "i4", "u1", "i8"))})


@cases_of("LeftShift", "RightShift")
def shifted(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    kind = pick(rng, "i4", "i8", "u4", "u1", "i1", "i2", "u8")
    info = np.iinfo(kind)
    x = rng.integers(info.min, int(info.max), first, dtype=kind)
    return Case(op, {"x": np.asarray(x, kind), "y": wholes(rng, second, 0, info.bits, kind)})


@cases_of("AddN")
def add_n(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng), pick(rng, "f4", "i4")
    return Case(op, {"inputs": [numbers(rng, shape, kind) for _ in range(int(rng.integers(1, 5)))]})


@cases_of("ClipByValue")
def clip(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng), pick(rng, "f4", "i4")
    bound = shape if rng.random() < 0.3 else ()
    low = numbers(rng, bound, kind)
    return Case(
        op,
        {"t": numbers(rng, shape, kind), "clip_value_min": low, "clip_value_max": (low + 2).astype(kind)},
        constant=pick(rng, ("clip_value_min", "clip_value_max"), ()),
    )


@cases_of("LeakyRelu")
def leaky(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"features": reals(rng, shape_of(rng))}, {"alpha": float(rng.uniform(0, 0.5))})


@cases_of("Softmax", "LogSoftmax")
def softmax(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"logits": reals(rng, shape_of(rng, 1), -9, 9)})


@cases_of("Cast")
def cast(rng: np.random.Generator, op: str) -> Case:
    source, to = (pick(rng, "f4", "i4", "i8", "?", "u1", "f8", "f2", "i1", "i2") for _ in range(2))
    x = np.abs(numbers(rng, shape_of(rng), source)) if source != "?" else numbers(rng, shape_of(rng), source)
    return Case(op, {"x": np.asarray(x).astype(source)}, {"DstT": np.dtype(to)})


@cases_of("Select")
def select(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng), pick(rng, "f4", "i4")
    mask = pick(rng, shape, shape[:1], ())
    return Case(
        op,
        {
            "condition": numbers(rng, mask, "?"),
            "x": numbers(rng, shape, kind),
            "y": numbers(rng, shape, kind),
        },
    )


@cases_of("SelectV2")
def select_v2(rng: np.random.Generator, op: str) -> Case:
    (first, second), kind = pair(rng), pick(rng, "f4", "i4", "i8")
    return Case(
        op,
        {"condition": numbers(rng, first, "?"), "t": numbers(rng, second, kind), "e": numbers(rng, (), kind)},
    )


@cases_of("Where")
def where(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"condition": numbers(rng, shape_of(rng, 1, 3), "?")})


@cases_of("BiasAdd")
def bias(rng: np.random.Generator, op: str) -> Case:
    front = rng.random() < 0.4
    shape = shape_of(rng, 3 if front else 2, 4)
    depth = shape[1] if front else shape[-1]
    return Case(
        op,
        {"value": reals(rng, shape), "bias": reals(rng, (depth,))},
        {"data_format": "NCHW" if front else "NHWC"},
        pick(rng, ("bias",), ()),
    )


@cases_of("Bucketize")
def bucketize(rng: np.random.Generator, op: str) -> Case:
    edges = sorted(float(np.float32(x)) for x in rng.uniform(-3, 3, int(rng.integers(1, 6))))
    return Case(
        op, {"input": numbers(rng, shape_of(rng), pick(rng, "f4", "i4", "i8"))}, {"boundaries": edges}
    )


@cases_of("ApproximateEqual")
def approximately(rng: np.random.Generator, op: str) -> Case:
    x = reals(rng, shape_of(rng))
    return Case(
        op, {"x": x, "y": (x + reals(rng, x.shape, -0.02, 0.02)).astype(np.float32)}, {"tolerance": 0.01}
    )


@cases_of("Cross")
def cross(rng: np.random.Generator, op: str) -> Case:
    shape = (*shape_of(rng, 0, 2), 3)
    return Case(op, {"a": reals(rng, shape), "b": reals(rng, shape)})


# -- reductions --------------------------------------------------------------------------------------------------------


@cases_of("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")
def reduction(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng)
    kind = (
        "?" if op in ("All", "Any") else "f4" if op == "EuclideanNorm" else pick(rng, "f4", "i4", "i8", "f8")
    )
    axes = [int(a) for a in rng.permutation(len(shape))[: int(rng.integers(0, len(shape) + 1))]]
    axes = [a - len(shape) if rng.random() < 0.3 else a for a in axes]
    return Case(
        op,
        {"input": numbers(rng, shape, kind), "axis": np.array(axes, np.int32)},
        {"keep_dims": bool(rng.random() < 0.5)},
        ("axis",),
        (2e-5, 2e-5),
    )


@cases_of("ArgMax", "ArgMin")
def extreme(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 1), pick(rng, "f4", "i4")
    axis = int(rng.integers(-len(shape), len(shape)))
    x = np.round(numbers(rng, shape, kind)).astype(kind)
    return Case(
        op,
        {"input": x, "dimension": np.array(axis, np.int32)},
        {"output_type": pick(rng, np.int32, np.int64)},
        ("dimension",),
    )


@cases_of("Cumsum", "Cumprod")
def running(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    axis = int(rng.integers(-len(shape), len(shape)))
    return Case(
        op,
        {"x": numbers(rng, shape, pick(rng, "f4", "i4")), "axis": np.array(axis, np.int32)},
        {"exclusive": bool(rng.random() < 0.5), "reverse": bool(rng.random() < 0.5)},
        ("axis",),
    )


@cases_of("TopKV2")
def top_k(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 3)
    x = np.round(numbers(rng, shape, pick(rng, "f4", "i4")))
    return Case(
        op,
        {"input": x, "k": np.array(int(rng.integers(1, shape[-1] + 1)), np.int32)},
        {"sorted": True},
        pick(rng, ("k",), ()),
    )


# -- shapes ------------------------------------------------------------------------------------------------------------

KINDS = ("f4", "i4", "i8", "?", "f4")


@cases_of("Reshape")
def reshape(rng: np.random.Generator, op: str) -> Case:
    x = numbers(rng, shape_of(rng), pick(rng, *KINDS))
    count, dims = x.size, []
    while count > 1 and len(dims) < 4:
        dims.append(int(pick(rng, *[d for d in range(1, count + 1) if count % d == 0])))
        count //= dims[-1]
    dims = [*dims, count] if count > 1 or rng.random() < 0.3 else dims
    if dims and rng.random() < 0.5:
        dims[int(rng.integers(len(dims)))] = -1
    return Case(
        op,
        {"tensor": x, "shape": np.array(dims, pick(rng, np.int32, np.int64))},
        constant=pick(rng, ("shape",), ()),
    )


@cases_of("Squeeze")
def squeeze(rng: np.random.Generator, op: str) -> Case:
    shape = tuple(pick(rng, 1, 1, 2, 3) for _ in range(int(rng.integers(0, 6))))
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    chosen = [a - len(shape) if rng.random() < 0.3 else a for a in ones if rng.random() < 0.6]
    return Case(op, {"input": numbers(rng, shape, pick(rng, *KINDS))}, {"axis": chosen})


@cases_of("ExpandDims")
def expand(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng)
    axis = int(rng.integers(-len(shape) - 1, len(shape) + 1))
    return Case(
        op,
        {"input": numbers(rng, shape, pick(rng, *KINDS)), "axis": np.array(axis, np.int32)},
        constant=("axis",),
    )


@cases_of("Transpose")
def transpose(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng)
    return Case(
        op,
        {"x": numbers(rng, shape, pick(rng, *KINDS)), "perm": rng.permutation(len(shape)).astype(np.int32)},
        constant=("perm",),
    )


@cases_of("Tile")
def tile(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng)
    return Case(
        op,
        {
            "input": numbers(rng, shape, pick(rng, "f4", "i4")),
            "multiples": rng.integers(1, 4, len(shape)).astype(np.int32),
        },
        constant=pick(rng, ("multiples",), ()),
    )


@cases_of("Fill")
def fill(rng: np.random.Generator, op: str) -> Case:
    return Case(
        op,
        {"dims": np.array(shape_of(rng), np.int32), "value": numbers(rng, (), pick(rng, *KINDS))},
        constant=pick(rng, ("dims",), ()),
    )


@cases_of("BroadcastTo")
def broadcast_to(rng: np.random.Generator, op: str) -> Case:
    whole = shape_of(rng)
    kept = tuple(1 if rng.random() < 0.4 else dim for dim in whole)[int(rng.integers(0, len(whole) + 1)) :]
    return Case(
        op,
        {"input": numbers(rng, kept, pick(rng, "f4", "i4")), "shape": np.array(whole, np.int32)},
        constant=pick(rng, ("shape",), ()),
    )


@cases_of("BroadcastArgs")
def broadcast_args(rng: np.random.Generator, op: str) -> Case:
    first, second = pair(rng)
    return Case(op, {"s0": np.array(first, np.int32), "s1": np.array(second, np.int32)})


@cases_of("Range")
def range_of(rng: np.random.Generator, op: str) -> Case:
    if rng.random() < 0.5:
        values = [np.float32(x) for x in (rng.uniform(-3, 3), rng.uniform(4, 9), rng.uniform(0.3, 1.5))]
    else:
        step = pick(rng, 1, 2, 3)
        values = [np.int32(x) for x in (rng.integers(-5, 5), rng.integers(-5, 15), step)]
    return Case(op, dict(zip(("start", "limit", "delta"), values, strict=True)))


@cases_of("LinSpace")
def lin_space(rng: np.random.Generator, op: str) -> Case:
    return Case(
        op,
        {
            "start": np.float32(rng.uniform(-3, 3)),
            "stop": np.float32(rng.uniform(-3, 9)),
            "num": np.int32(rng.integers(1, 9)),
        },
        constant=("num",),
    )


@cases_of("Pad", "PadV2")
def pad(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 1), pick(rng, "f4", "i4")
    operands = {
        "input": numbers(rng, shape, kind),
        "paddings": rng.integers(0, 3, (len(shape), 2)).astype(np.int32),
    }
    if op == "PadV2":
        operands["constant_values"] = numbers(rng, (), kind)
    return Case(
        op,
        operands,
        constant=pick(rng, ("paddings",), (), ("paddings", "constant_values")[: len(operands) - 1]),
    )


@cases_of("MirrorPad")
def mirror(rng: np.random.Generator, op: str) -> Case:
    shape = tuple(int(n) for n in rng.integers(3, 6, int(rng.integers(1, 5))))
    return Case(
        op,
        {"input": reals(rng, shape), "paddings": rng.integers(0, 3, (len(shape), 2)).astype(np.int32)},
        {"mode": pick(rng, "REFLECT", "SYMMETRIC")},
        ("paddings",),
    )


@cases_of("MatrixDiag", "Diag", "DiagPart", "MatrixDiagPart")
def diagonals(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 3)
    if op == "DiagPart":
        shape = shape[:2] * 2
    elif op == "MatrixDiagPart":
        shape = (*shape, int(rng.integers(1, 5)))
    elif op == "Diag":
        shape = shape[:2]
    return Case(
        op, {"input" if op.endswith("Part") else "diagonal": numbers(rng, shape, pick(rng, "f4", "i4"))}
    )


@cases_of("MatrixDiagV3")
def diagonals_v3(rng: np.random.Generator, op: str) -> Case:
    kind = pick(rng, "f4", "i4")
    return Case(
        op,
        {
            "diagonal": numbers(rng, shape_of(rng, 1, 3), kind),
            "k": np.int32(0),
            "num_rows": np.int32(-1),
            "num_cols": np.int32(-1),
            "padding_value": numbers(rng, (), kind),
        },
        constant=("k", "num_rows", "num_cols"),
    )


@cases_of("MatrixSetDiag")
def set_diag(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 2, 4)
    return Case(op, {"input": reals(rng, shape), "diagonal": reals(rng, (*shape[:-2], min(shape[-2:])))})


@cases_of("MatrixBandPart")
def band(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 2, 4)
    below, above = (np.int32(rng.integers(-1, n + 1)) for n in shape[-2:])
    return Case(
        op,
        {"input": numbers(rng, shape, pick(rng, "f4", "i4")), "num_lower": below, "num_upper": above},
        constant=("num_lower", "num_upper"),
    )


@cases_of("InvertPermutation")
def invert(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"x": rng.permutation(int(rng.integers(1, 9))).astype(pick(rng, np.int32, np.int64))})


@cases_of("ConcatV2", "Concat")
def concat(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 1), pick(rng, *KINDS)
    axis = int(rng.integers(-len(shape), len(shape)))
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        own = list(shape)
        own[axis] = int(rng.integers(1, 4))
        parts.append(numbers(rng, tuple(own), kind))
    if op == "Concat":
        return Case(
            op, {"concat_dim": np.int32(axis % len(shape)), "values": parts}, constant=("concat_dim",)
        )
    return Case(op, {"values": parts, "axis": np.int32(axis)}, constant=("axis",))


@cases_of("Pack")
def pack(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 0, 3), pick(rng, *KINDS)
    return Case(
        op,
        {"values": [numbers(rng, shape, kind) for _ in range(int(rng.integers(1, 4)))]},
        {"axis": int(rng.integers(-len(shape) - 1, len(shape) + 1))},
    )


@cases_of("Unpack")
def unpack(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    axis = int(rng.integers(-len(shape), len(shape)))
    return Case(op, {"value": numbers(rng, shape, pick(rng, *KINDS))}, {"num": shape[axis], "axis": axis})


@cases_of("Split")
def split(rng: np.random.Generator, op: str) -> Case:
    shape = list(shape_of(rng, 1))
    axis, count = int(rng.integers(-len(shape), len(shape))), int(rng.integers(1, 4))
    shape[axis] *= count
    return Case(
        op,
        {"axis": np.int32(axis), "value": numbers(rng, tuple(shape), pick(rng, "f4", "i4"))},
        {"num_split": count},
        ("axis",),
    )


@cases_of("SplitV")
def split_v(rng: np.random.Generator, op: str) -> Case:
    shape = list(shape_of(rng, 1))
    axis = int(rng.integers(-len(shape), len(shape)))
    sizes = rng.integers(1, 4, int(rng.integers(1, 4))).astype(np.int32)
    shape[axis] = int(sizes.sum())
    if rng.random() < 0.4:
        sizes[int(rng.integers(len(sizes)))] = -1
    return Case(
        op,
        {
            "value": numbers(rng, tuple(shape), pick(rng, "f4", "i4")),
            "size_splits": sizes,
            "axis": np.int32(axis),
        },
        {"num_split": len(sizes)},
        ("size_splits", "axis"),
    )


@cases_of("Slice")
def slice_of(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    begin = np.array([rng.integers(0, dim) for dim in shape], np.int32)
    size = np.array(
        [pick(rng, -1, rng.integers(1, dim - b + 1), dim - b) for dim, b in zip(shape, begin, strict=True)],
        np.int32,
    )
    return Case(
        op,
        {"input": numbers(rng, shape, pick(rng, *KINDS)), "begin": begin, "size": size},
        constant=pick(rng, ("begin", "size"), ("size",), ()),
    )


@cases_of("StridedSlice")
def strided(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 4, 6)
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    begin, end, strides = [], [], []
    axes = list(shape[: int(rng.integers(1, len(shape) + 1))])
    whole = len(axes) == len(shape)
    place = 0
    ellipsis = None if rng.random() < 0.7 else int(rng.integers(0, len(axes) + 1))
    for number, dim in enumerate(axes):
        if number == ellipsis:
            masks["ellipsis_mask"] |= 1 << place
            begin, end, strides, place = [*begin, 0], [*end, 0], [*strides, 1], place + 1
            if not whole:
                dim = shape[len(shape) - len(axes) + number]
        elif ellipsis is not None and number > ellipsis:
            dim = shape[len(shape) - len(axes) + number]
        if rng.random() < 0.15:
            masks["new_axis_mask"] |= 1 << place
            begin, end, strides, place = [*begin, 0], [*end, 0], [*strides, 1], place + 1
        if rng.random() < 0.3:
            masks["shrink_axis_mask"] |= 1 << place
            low = int(rng.integers(-dim, dim))
            begin, end, strides = [*begin, low], [*end, low + 1], [*strides, 1]
        else:
            step = int(pick(rng, 1, 1, 2, -1, -2))
            begin, end = (
                [*begin, int(rng.integers(-dim - 1, dim + 2))],
                [*end, int(rng.integers(-dim - 1, dim + 2))],
            )
            strides = [*strides, step]
            masks["begin_mask"] |= int(rng.random() < 0.3) << place
            masks["end_mask"] |= int(rng.random() < 0.3) << place
        place += 1
    vectors = {
        key: np.array(item, np.int32) for key, item in (("begin", begin), ("end", end), ("strides", strides))
    }
    return Case(
        op,
        {"input": numbers(rng, shape, pick(rng, *KINDS)), **vectors},
        masks,
        pick(rng, tuple(vectors), tuple(vectors), ("strides",), ("end", "strides")),
    )


@cases_of("ReverseV2")
def reverse(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    axes = [int(a) for a in rng.permutation(len(shape)) if rng.random() < 0.5]
    return Case(
        op,
        {"tensor": numbers(rng, shape, pick(rng, *KINDS)), "axis": np.array(axes, np.int32)},
        constant=("axis",),
    )


@cases_of("ReverseSequence")
def reverse_sequence(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 2)
    batch, time = (int(a) for a in rng.permutation(len(shape))[:2])
    return Case(
        op,
        {
            "input": reals(rng, shape),
            "seq_lengths": rng.integers(0, shape[time] + 1, shape[batch]).astype(np.int64),
        },
        {"seq_dim": time, "batch_dim": batch},
    )


@cases_of("Roll")
def roll(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    axes = rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))].astype(np.int32)
    return Case(
        op,
        {"input": reals(rng, shape), "shift": rng.integers(-7, 8, len(axes)).astype(np.int32), "axis": axes},
        constant=("shift", "axis"),
    )


# -- selection ---------------------------------------------------------------------------------------------------------


@cases_of("GatherV2")
def gather(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    axis = int(rng.integers(0, len(shape)))
    shared = int(rng.integers(0, axis + 1)) if rng.random() < 0.5 else 0
    places = (*shape[:shared], *shape_of(rng, 0, 2, 3))
    index = rng.integers(0, shape[axis], places).astype(pick(rng, np.int32, np.int64))
    return Case(
        op,
        {
            "params": numbers(rng, shape, pick(rng, "f4", "i4")),
            "indices": index,
            "axis": np.int32(axis if shared or rng.random() < 0.5 else axis - len(shape)),
        },
        {"batch_dims": shared},
        pick(rng, ("axis",), ("axis", "indices")),
    )


@cases_of("Gather")
def gather_v1(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    return Case(
        op,
        {
            "params": reals(rng, shape),
            "indices": rng.integers(0, shape[0], shape_of(rng, 0, 2)).astype(np.int32),
        },
    )


def places_in(rng: np.random.Generator, shape: tuple[int, ...], distinct: bool) -> Array:
    width = int(rng.integers(1, len(shape) + 1))
    every = np.stack([axis.reshape(-1) for axis in np.indices(shape[:width])], -1)
    count = int(rng.integers(1, min(len(every), 6) + 1))
    rows = rng.permutation(len(every))[:count] if distinct else rng.integers(0, len(every), count)
    return every[rows].astype(pick(rng, np.int32, np.int64))


@cases_of("GatherNd")
def gather_nd(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    return Case(
        op, {"params": numbers(rng, shape, pick(rng, "f4", "i4")), "indices": places_in(rng, shape, False)}
    )


@cases_of("ScatterNd")
def scatter_nd(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1)
    places = places_in(rng, shape, False)
    updates = numbers(rng, (len(places), *shape[places.shape[1] :]), pick(rng, "f4", "i4"))
    return Case(
        op,
        {"indices": places, "updates": updates, "shape": np.array(shape, places.dtype)},
        constant=pick(rng, ("shape",), ()),
    )


@cases_of(
    "TensorScatterUpdate", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"
)
def tensor_scatter(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 1), pick(rng, "f4", "i4")
    places = places_in(rng, shape, op == "TensorScatterUpdate")
    updates = numbers(rng, (len(places), *shape[places.shape[1] :]), kind)
    return Case(op, {"tensor": numbers(rng, shape, kind), "indices": places, "updates": updates})


@cases_of("OneHot")
def one_hot(rng: np.random.Generator, op: str) -> Case:
    shape, kind = shape_of(rng, 0, 3), pick(rng, "f4", "i4", "?")
    depth = int(rng.integers(1, 6))
    return Case(
        op,
        {
            "indices": wholes(rng, shape, -2, depth + 2, pick(rng, "i4", "i8", "u1")),
            "depth": np.int32(depth),
            "on_value": numbers(rng, (), kind),
            "off_value": numbers(rng, (), kind),
        },
        {"axis": int(rng.integers(-1, len(shape) + 1))},
        pick(rng, ("depth",), ("depth", "on_value", "off_value")),
    )


@cases_of("Unique", "UniqueWithCounts")
def unique(rng: np.random.Generator, op: str) -> Case:
    kind = pick(rng, "i4", "i8", "f4")
    return Case(
        op,
        {"x": np.round(numbers(rng, (int(rng.integers(1, 12)),), kind)).astype(kind)},
        {"out_idx": pick(rng, np.int32, np.int64)},
    )


@cases_of("UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin")
def segment(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 3)
    count = int(rng.integers(1, 5))
    ids = rng.integers(0, count, shape[: int(rng.integers(1, len(shape) + 1))]).astype(np.int32)
    return Case(
        op,
        {
            "data": numbers(rng, shape, pick(rng, "f4", "i4")),
            "segment_ids": ids,
            "num_segments": np.int32(count),
        },
        constant=("segment_ids", "num_segments"),
    )


@cases_of("DynamicStitch")
def stitch(rng: np.random.Generator, op: str) -> Case:
    order = rng.permutation(6).astype(np.int32)
    rest = shape_of(rng, 0, 2)
    return Case(
        op,
        {
            "indices": [order[:2], order[2:].reshape(2, 2)],
            "data": [reals(rng, (2, *rest)), reals(rng, (2, 2, *rest))],
        },
        constant=("indices",),
    )


# -- products ----------------------------------------------------------------------------------------------------------


@cases_of("MatMul")
def matmul(rng: np.random.Generator, op: str) -> Case:
    rows, depth, columns = (int(n) for n in rng.integers(1, 7, 3))
    flip = [bool(rng.random() < 0.4) for _ in range(2)]
    kind = pick(rng, "f4", "f4", "i4", "f8")
    a, b = (rows, depth), (depth, columns)
    return Case(
        op,
        {
            "a": numbers(rng, a[::-1] if flip[0] else a, kind),
            "b": numbers(rng, b[::-1] if flip[1] else b, kind),
        },
        {"transpose_a": flip[0], "transpose_b": flip[1]},
        pick(rng, ("b",), ()),
    )


@cases_of("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(rng: np.random.Generator, op: str) -> Case:
    rows, depth, columns = (int(n) for n in rng.integers(1, 6, 3))
    flip = [bool(rng.random() < 0.4) for _ in range(2)]
    lead = shape_of(rng, 0, 2)
    a, b = (rows, depth), (depth, columns)
    other = lead[1:] if op != "BatchMatMul" and rng.random() < 0.5 else lead
    x = reals(rng, (*lead, *(a[::-1] if flip[0] else a)))
    y = reals(rng, (*other, *(b[::-1] if flip[1] else b)))
    attrs: dict[str, Any] = {"adj_x": flip[0], "adj_y": flip[1]}
    return Case(op, {"x": x, "y": y}, attrs | ({"Tout": np.float32} if op.endswith("3") else {}))


@cases_of("Einsum")
def einsum(rng: np.random.Generator, op: str) -> Case:
    sizes = {letter: int(rng.integers(1, 5)) for letter in "abcdxyz"}
    text = pick(
        rng,
        "abc,cd->abd",
        "abc,acd->abd",
        "ab,ab->a",
        "ab->ba",
        "...ab,...bc->...ac",
        "abcd,aecd->aceb",
        "abc,cde->abde",
        "abc->b",
        "ab,cb->ac",
        "abcd,cde->abe",
    ).replace("e", "x")
    operands = []
    for term in text.split("->")[0].split(","):
        wide = (sizes["y"], sizes["z"])[int(rng.integers(0, 2)) :] if "..." in term else ()
        operands.append(reals(rng, (*wide, *(sizes[letter] for letter in term.replace(".", "")))))
    return Case(op, {"inputs": operands}, {"equation": text})


# -- images ------------------------------------------------------------------------------------------------------------


def image(
    rng: np.random.Generator, low: int = 5, high: int = 10, depth: int = 4
) -> tuple[int, int, int, int]:
    return (
        int(rng.integers(1, 3)),
        int(rng.integers(low, high)),
        int(rng.integers(low, high)),
        int(rng.integers(1, depth + 1)),
    )


def steps(rng: np.random.Generator, most: int = 3, size: int = 2) -> list[int]:
    return [1, *(int(n) for n in rng.integers(1, most + 1, size)), 1]


@cases_of("Conv2D")
def conv(rng: np.random.Generator, op: str) -> Case:
    shape = image(rng)
    groups = pick(rng, 1, 1, 1, 2)
    shape = (*shape[:3], shape[3] * groups)
    filters = (*(int(n) for n in rng.integers(1, 4, 2)), shape[3] // groups, int(rng.integers(1, 4)) * groups)
    dilated = rng.random() < 0.3
    attrs: dict[str, Any] = {
        "strides": [1, 1, 1, 1] if dilated else steps(rng),
        "padding": pick(rng, "SAME", "VALID", "EXPLICIT"),
    }
    attrs["dilations"] = steps(rng, 2) if dilated else [1, 1, 1, 1]
    if attrs["padding"] == "EXPLICIT":
        attrs["explicit_paddings"] = [0, 0, *(int(n) for n in rng.integers(0, 3, 4)), 0, 0]
    return Case(
        op,
        {"input": reals(rng, shape), "filter": reals(rng, filters)},
        attrs,
        pick(rng, ("filter",), ("filter",), ()),
    )


@cases_of("DepthwiseConv2dNative")
def depthwise(rng: np.random.Generator, op: str) -> Case:
    shape = image(rng)
    filters = (*(int(n) for n in rng.integers(1, 4, 2)), shape[3], int(rng.integers(1, 3)))
    by = int(rng.integers(1, 4))
    attrs = {"strides": [1, by, by, 1], "padding": pick(rng, "SAME", "VALID")}
    return Case(
        op, {"input": reals(rng, shape), "filter": reals(rng, filters)}, attrs, pick(rng, ("filter",), ())
    )


@cases_of("Conv2DBackpropInput")
def conv_transpose(rng: np.random.Generator, op: str) -> Case:
    batch, height, width, count = image(rng, 5, 12)
    kernel, by = [int(n) for n in rng.integers(1, 4, 2)], [int(n) for n in rng.integers(1, 4, 2)]
    kind = pick(rng, "SAME", "VALID")
    sizes = [
        -(-size // step) if kind == "SAME" else (size - k) // step + 1
        for size, k, step in zip((height, width), kernel, by, strict=True)
    ]
    depth = int(rng.integers(1, 4))
    return Case(
        op,
        {
            "input_sizes": np.array([batch, height, width, count], np.int32),
            "filter": reals(rng, (*kernel, count, depth)),
            "out_backprop": reals(rng, (batch, *sizes, depth)),
        },
        {"strides": [1, *by, 1], "padding": kind},
        ("input_sizes", "filter"),
    )


@cases_of("Conv3D")
def conv_3d(rng: np.random.Generator, op: str) -> Case:
    shape = (1, *(int(n) for n in rng.integers(3, 6, 3)), int(rng.integers(1, 3)))
    filters = (*(int(n) for n in rng.integers(1, 4, 3)), shape[-1], int(rng.integers(1, 3)))
    return Case(
        op,
        {"input": reals(rng, shape), "filter": reals(rng, filters)},
        {"strides": steps(rng, 2, 3), "padding": pick(rng, "SAME", "VALID")},
        ("filter",),
    )


@cases_of("Conv3DBackpropInputV2")
def conv_3d_transpose(rng: np.random.Generator, op: str) -> Case:
    sizes = [int(n) for n in rng.integers(3, 7, 3)]
    kernel, by = [int(n) for n in rng.integers(1, 4, 3)], [int(n) for n in rng.integers(1, 3, 3)]
    kind = pick(rng, "SAME", "VALID")
    have = [
        -(-n // s) if kind == "SAME" else (n - k) // s + 1 for n, k, s in zip(sizes, kernel, by, strict=True)
    ]
    return Case(
        op,
        {
            "input_sizes": np.array([1, *sizes, 2], np.int32),
            "filter": reals(rng, (*kernel, 2, 3)),
            "out_backprop": reals(rng, (1, *have, 3)),
        },
        {"strides": [1, *by, 1], "padding": kind},
        ("input_sizes", "filter"),
    )


@cases_of("MaxPool", "AvgPool", "MaxPoolWithArgmax")
def pool(rng: np.random.Generator, op: str) -> Case:
    window = [1, *(int(n) for n in rng.integers(1, 4, 2)), 1]
    attrs: dict[str, Any] = {"ksize": window, "strides": steps(rng), "padding": pick(rng, "SAME", "VALID")}
    if op == "MaxPoolWithArgmax":
        attrs["include_batch_in_index"] = bool(rng.random() < 0.5)
    return Case(op, {"value" if op == "AvgPool" else "input": reals(rng, image(rng))}, attrs)


@cases_of("MaxPoolV2")
def pool_v2(rng: np.random.Generator, op: str) -> Case:
    return Case(
        op,
        {
            "input": reals(rng, image(rng)),
            "ksize": np.array([1, 2, 3, 1], np.int32),
            "strides": np.array(steps(rng), np.int32),
        },
        {"padding": pick(rng, "SAME", "VALID")},
        ("ksize", "strides"),
    )


@cases_of("MaxPool3D", "AvgPool3D")
def pool_3d(rng: np.random.Generator, op: str) -> Case:
    shape = (1, *(int(n) for n in rng.integers(3, 6, 3)), 2)
    return Case(
        op,
        {"input": reals(rng, shape)},
        {
            "ksize": [1, *(int(n) for n in rng.integers(1, 4, 3)), 1],
            "strides": steps(rng, 2, 3),
            "padding": pick(rng, "SAME", "VALID"),
        },
    )


@cases_of("LRN")
def lrn(rng: np.random.Generator, op: str) -> Case:
    return Case(
        op,
        {"input": reals(rng, image(rng, depth=9))},
        {
            "depth_radius": int(rng.integers(0, 4)),
            "bias": float(rng.uniform(0.5, 2)),
            "alpha": float(rng.uniform(0.1, 1)),
            "beta": float(rng.uniform(0.3, 1)),
        },
    )


@cases_of("ExtractImagePatches")
def patches(rng: np.random.Generator, op: str) -> Case:
    return Case(
        op,
        {"images": reals(rng, image(rng))},
        {
            "ksizes": [1, *(int(n) for n in rng.integers(1, 4, 2)), 1],
            "strides": steps(rng),
            "rates": steps(rng, 2),
            "padding": pick(rng, "SAME", "VALID"),
        },
    )


@cases_of("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def batch_norm(rng: np.random.Generator, op: str) -> Case:
    shape = image(rng)
    names = ("scale", "offset", "mean", "variance")
    vectors = {name: reals(rng, (shape[3],), 0.1, 2) for name in names}
    return Case(
        op,
        {"x": reals(rng, shape), **vectors},
        {"epsilon": 0.001, "is_training": False},
        pick(rng, names, names, ()),
        (1e-4, 1e-4),
    )


@cases_of("L2Loss")
def l2_loss(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"t": reals(rng, shape_of(rng, 1))})


@cases_of("SpaceToBatchND")
def space_to_batch(rng: np.random.Generator, op: str) -> Case:
    block = [int(n) for n in rng.integers(1, 4, 2)]
    pads = rng.integers(0, 3, (2, 2))
    sizes = [int(rng.integers(1, 4)) * by for by in block]
    for axis, by in enumerate(block):
        pads[axis, 1] += (-(sizes[axis] + pads[axis].sum())) % by
    return Case(
        op,
        {
            "input": reals(rng, (2, *sizes, 3)),
            "block_shape": np.array(block, np.int32),
            "paddings": pads.astype(np.int32),
        },
        constant=("block_shape", "paddings"),
    )


@cases_of("BatchToSpaceND")
def batch_to_space(rng: np.random.Generator, op: str) -> Case:
    block = [int(n) for n in rng.integers(1, 4, 2)]
    sizes = [int(n) for n in rng.integers(2, 5, 2)]
    crops = np.array([[rng.integers(0, by), rng.integers(0, by)] for by in block], np.int32)
    return Case(
        op,
        {
            "input": reals(rng, (block[0] * block[1] * 2, *sizes, 2)),
            "block_shape": np.array(block, np.int32),
            "crops": crops,
        },
        constant=("block_shape", "crops"),
    )


@cases_of("DepthToSpace", "SpaceToDepth")
def blocks(rng: np.random.Generator, op: str) -> Case:
    by = int(rng.integers(2, 4))
    batch, height, width, depth = image(rng, 1, 4)
    shape = (
        (batch, height, width, depth * by * by)
        if op == "DepthToSpace"
        else (batch, height * by, width * by, depth)
    )
    return Case(op, {"input": reals(rng, shape)}, {"block_size": by})


@cases_of("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic")
def resize(rng: np.random.Generator, op: str) -> Case:
    shape = image(rng, 2, 9)
    size = rng.integers(1, 14, 2).astype(np.int32)
    how = pick(rng, {}, {"align_corners": True}, {"half_pixel_centers": True})
    kind = pick(rng, "f4", "f4", "u1", "i4")
    x = numbers(rng, shape, kind)
    return Case(
        op,
        {"images": x, "size": size},
        how,
        pick(rng, ("size",), ()),
        (5e-3, 3e-2) if op == "ResizeBicubic" else (1e-4, 1e-4),
    )


@cases_of("CropAndResize")
def crop(rng: np.random.Generator, op: str) -> Case:
    shape = image(rng, 3, 8)
    count = int(rng.integers(1, 4))
    boxes = np.concatenate([rng.uniform(-0.2, 0.5, (count, 2)), rng.uniform(0.5, 1.2, (count, 2))], 1).astype(
        np.float32
    )
    return Case(
        op,
        {
            "image": reals(rng, shape),
            "boxes": boxes,
            "box_ind": rng.integers(0, shape[0], count).astype(np.int32),
            "crop_size": rng.integers(1, 6, 2).astype(np.int32),
        },
        {"method": pick(rng, "bilinear", "nearest"), "extrapolation_value": float(pick(rng, 0.0, 2.5))},
        ("crop_size",),
        (1e-4, 1e-4),
    )


def boxes_of(rng: np.random.Generator, count: int) -> Array:
    low = rng.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.4, (count, 2))], 1).astype(np.float32)


@cases_of(
    "NonMaxSuppression",
    "NonMaxSuppressionV2",
    "NonMaxSuppressionV3",
    "NonMaxSuppressionV4",
    "NonMaxSuppressionV5",
)
def suppression(rng: np.random.Generator, op: str) -> Case:
    count = int(rng.integers(1, 20))
    operands = {
        "boxes": boxes_of(rng, count),
        "scores": reals(rng, (count,), 0, 1),
        "max_output_size": np.int32(rng.integers(1, 12)),
    }
    attrs: dict[str, Any] = {}
    if op == "NonMaxSuppression":
        attrs["iou_threshold"] = 0.4
    else:
        operands["iou_threshold"] = np.float32(rng.uniform(0.1, 0.9))
    if op[-1] in "345":
        operands["score_threshold"] = np.float32(rng.uniform(0, 0.5))
    if op[-1] in "45":
        attrs["pad_to_max_output_size"] = bool(rng.random() < 0.5)
    constant = ("max_output_size",)
    if op[-1] == "5":
        operands["soft_nms_sigma"] = np.float32(pick(rng, 0.0, 0.0, 0.5))
        constant = ("max_output_size", "soft_nms_sigma")
    return Case(op, operands, attrs, constant)


@cases_of("CombinedNonMaxSuppression")
def combined(rng: np.random.Generator, op: str) -> Case:
    images, count, classes = int(rng.integers(1, 3)), int(rng.integers(1, 12)), int(rng.integers(1, 4))
    boxes = np.stack([boxes_of(rng, count) for _ in range(images)])[:, :, None]
    operands = {
        "boxes": boxes,
        "scores": reals(rng, (images, count, classes), 0, 1),
        "max_output_size_per_class": np.int32(rng.integers(1, 6)),
        "max_total_size": np.int32(rng.integers(1, 12)),
        "iou_threshold": np.float32(0.4),
        "score_threshold": np.float32(0.2),
    }
    return Case(
        op,
        operands,
        {"pad_per_class": bool(rng.random() < 0.4), "clip_boxes": bool(rng.random() < 0.5)},
        tuple(operands)[2:],
    )


# -- signals -----------------------------------------------------------------------------------------------------------


@cases_of("RFFT")
def rfft(rng: np.random.Generator, op: str) -> Case:
    shape = (*shape_of(rng, 0, 2), int(rng.integers(4, 20)))
    return Case(
        op,
        {"input": reals(rng, shape), "fft_length": np.array([rng.integers(1, shape[-1] + 1)], np.int32)},
        {"Tcomplex": np.complex64},
        ("fft_length",),
        (1e-4, 1e-4),
    )


@cases_of("RFFT2D")
def rfft2d(rng: np.random.Generator, op: str) -> Case:
    shape = (*shape_of(rng, 0, 1), *(int(n) for n in rng.integers(4, 9, 2)))
    return Case(
        op,
        {
            "input": reals(rng, shape),
            "fft_length": np.array([rng.integers(1, n + 1) for n in shape[-2:]], np.int32),
        },
        {"Tcomplex": np.complex64},
        ("fft_length",),
        (1e-4, 1e-4),
    )


def complexes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return (reals(rng, shape) + 1j * reals(rng, shape)).astype(np.complex64)


@cases_of("IRFFT")
def irfft(rng: np.random.Generator, op: str) -> Case:
    length = int(rng.integers(2, 20))
    x = complexes(rng, (*shape_of(rng, 0, 2), length // 2 + 1 + int(rng.integers(0, 3))))
    x[..., 0] = x[..., 0].real  # what a transform of reals would have there
    x[..., -1] = x[..., -1].real
    if length % 2 == 0 and x.shape[-1] > length // 2:
        x[..., length // 2] = x[..., length // 2].real
    return Case(
        op,
        {"input": x, "fft_length": np.array([length], np.int32)},
        {"Treal": np.float32},
        ("fft_length",),
        (1e-4, 1e-4),
    )


@cases_of("FFT", "IFFT", "FFT2D", "IFFT2D")
def fft(rng: np.random.Generator, op: str) -> Case:
    shape = (*shape_of(rng, 0, 2), int(rng.integers(2, 9)), int(rng.integers(2, 9)))
    return Case(op, {"input": complexes(rng, shape)}, close=(1e-4, 1e-4))


@cases_of("Real", "Imag", "Conj", "ComplexAbs", "Angle")
def complex_unary(rng: np.random.Generator, op: str) -> Case:
    return Case(op, {"x" if op == "ComplexAbs" else "input": complexes(rng, shape_of(rng))})


@cases_of("Complex")
def complex_of(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng)
    return Case(op, {"real": reals(rng, shape), "imag": reals(rng, shape)})


@cases_of("AudioSpectrogram")
def spectrogram(rng: np.random.Generator, op: str) -> Case:
    size = int(rng.integers(16, 60))
    return Case(
        op,
        {"input": reals(rng, (int(rng.integers(120, 200)), int(rng.integers(1, 3))), -1, 1)},
        {
            "window_size": size,
            "stride": int(rng.integers(8, 40)),
            "magnitude_squared": bool(rng.random() < 0.5),
        },
        close=(1e-3, 1e-3),
    )


@cases_of("Mfcc")
def mfcc(rng: np.random.Generator, op: str) -> Case:
    spectrum = reals(rng, (1, int(rng.integers(1, 4)), 257), 0.1, 4)
    return Case(
        op,
        {"spectrogram": spectrum, "sample_rate": np.int32(16000)},
        {
            "filterbank_channel_count": pick(rng, 20, 40),
            "dct_coefficient_count": pick(rng, 10, 13),
            "upper_frequency_limit": pick(rng, 4000.0, 7500.0),
            "lower_frequency_limit": pick(rng, 20.0, 80.0),
        },
        ("sample_rate",),
        (1e-3, 1e-3),
    )


# -- quantization ------------------------------------------------------------------------------------------------------


def apart(rng: np.random.Generator, shape: tuple[int, ...], low: Array, high: Array, steps: int) -> Array:
    """Reals that lie well between two of the steps, so that nobody's rounding decides."""
    return (
        low + (rng.integers(-5, steps + 5, shape) + rng.uniform(-0.4, 0.4, shape)) * (high - low) / steps
    ).astype("f4")


def fine(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, narrow: bool
) -> tuple[Array, Array, Array]:
    last = (1 << bits) - 1 - narrow
    zero, scale = int(rng.integers(0, last)), float(rng.uniform(0.01, 0.1))
    low, high = np.float32(-zero * scale), np.float32((last - zero) * scale)
    return low, high, apart(rng, shape, low, high, last)


@cases_of("FakeQuantWithMinMaxArgs")
def fake_args(rng: np.random.Generator, op: str) -> Case:
    bits, narrow = pick(rng, 8, 8, 4, 16), bool(rng.random() < 0.4)
    low, high, x = fine(rng, shape_of(rng), bits, narrow)
    return Case(
        op,
        {"inputs": x},
        {"min": float(low), "max": float(high), "num_bits": bits, "narrow_range": narrow},
        close=(1e-4, 1e-4),
    )


@cases_of("FakeQuantWithMinMaxVars")
def fake_vars(rng: np.random.Generator, op: str) -> Case:
    bits, narrow = pick(rng, 8, 8, 4, 16), bool(rng.random() < 0.4)
    low, high, x = fine(rng, shape_of(rng), bits, narrow)
    return Case(
        op,
        {"inputs": x, "min": low, "max": high},
        {"num_bits": bits, "narrow_range": narrow},
        pick(rng, ("min", "max"), ("inputs", "min", "max")),
        (1e-4, 1e-4),
    )


@cases_of("FakeQuantWithMinMaxVarsPerChannel")
def fake_channels(rng: np.random.Generator, op: str) -> Case:
    shape, narrow = shape_of(rng, 1), bool(rng.random() < 0.4)
    parts = [fine(rng, shape[:-1], 8, narrow) for _ in range(shape[-1])]
    return Case(
        op,
        {
            "inputs": np.stack([part[2] for part in parts], -1),
            "min": np.stack([part[0] for part in parts]),
            "max": np.stack([part[1] for part in parts]),
        },
        {"num_bits": 8, "narrow_range": narrow},
        pick(rng, ("min", "max"), ("inputs", "min", "max")),
        (1e-4, 1e-4),
    )


@cases_of("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4", "QuantizeAndDequantizeV3")
def quantize(rng: np.random.Generator, op: str) -> Case:
    signed, narrow = bool(rng.random() < 0.6), bool(rng.random() < 0.5)
    high = np.float32(rng.uniform(0.5, 4))
    low = np.float32(-high * rng.uniform(0.1, 1.2)) if signed else np.float32(0)
    x = reals(rng, shape_of(rng), -5, 5)
    operands = {"input": x, "input_min": low, "input_max": high}
    attrs: dict[str, Any] = {"signed_input": signed, "range_given": True, "narrow_range": narrow}
    constant: tuple[str, ...] = ("input_min", "input_max")
    if op.endswith("3"):
        operands["num_bits"], constant = np.int32(8), (*constant, "num_bits")
    else:
        attrs["num_bits"] = 8
    scale = max(high / 127, -low / 128) if signed else high / 255
    return Case(op, operands, attrs, constant, (1e-4, float(scale) * 0.01))


# -- counting ----------------------------------------------------------------------------------------------------------


@cases_of("DenseBincount")
def bincount(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 2, 6)
    size, kind = int(rng.integers(1, 7)), pick(rng, "f4", "i4", "i8")
    weights = numbers(rng, shape, kind) if rng.random() < 0.5 else np.zeros(0, kind)
    binary = bool(rng.random() < 0.4)
    held = {"input": wholes(rng, shape, 0, size + 2), "size": np.int32(size), "weights": weights}
    return Case(op, held, {"binary_output": binary}, ("size", *(() if weights.size else ("weights",))))


@cases_of("LowerBound", "UpperBound")
def bound_of(rng: np.random.Generator, op: str) -> Case:
    rows, kind = int(rng.integers(1, 4)), pick(rng, "f4", "i4")
    table = np.sort(np.round(numbers(rng, (rows, int(rng.integers(1, 8))), kind)), axis=1).astype(kind)
    values = np.round(numbers(rng, (rows, int(rng.integers(1, 6))), kind)).astype(kind)
    return Case(op, {"sorted_inputs": table, "values": values}, {"out_type": pick(rng, np.int32, np.int64)})


@cases_of("SegmentSum", "SegmentMax", "SegmentMin", "SegmentMean")
def sorted_segment(rng: np.random.Generator, op: str) -> Case:
    shape = shape_of(rng, 1, 3, 6)
    ids = np.sort(rng.integers(0, 4, shape[0])).astype(np.int32)
    return Case(op, {"data": reals(rng, shape), "segment_ids": ids}, constant=("segment_ids",))


@cases_of("DynamicPartition")
def partition(rng: np.random.Generator, op: str) -> Case:
    shape, count = shape_of(rng, 1, 3, 6), int(rng.integers(1, 4))
    held = {"data": reals(rng, shape), "partitions": wholes(rng, shape[:1], 0, count)}
    return Case(op, held, {"num_partitions": count})


# -- recurrent cells ---------------------------------------------------------------------------------------------------


@cases_of("LSTMBlockCell", "BlockLSTM", "BlockLSTMV2")
def lstm(rng: np.random.Generator, op: str) -> Case:
    batch, depth, units, time = (int(n) for n in rng.integers(1, 5, 4))
    x = reals(rng, (time, batch, depth) if op.startswith("Block") else (batch, depth))
    peepholes = {name: reals(rng, (units,)) for name in ("wci", "wcf", "wco")}
    operands = {"x": x, "cs_prev": reals(rng, (batch, units)), "h_prev": reals(rng, (batch, units)),
                "w": reals(rng, (depth + units, 4 * units)), **peepholes, "b": reals(rng, (4 * units,))}  # fmt: skip
    attrs: dict[str, Any] = {"use_peephole": bool(rng.random() < 0.3), "cell_clip": pick(rng, 0.0, -1.0, 0.8)}
    if op != "BlockLSTMV2":
        attrs["forget_bias"] = pick(rng, 0.0, 1.0)
    constant = ("w", "wci", "wcf", "wco", "b")
    if op.startswith("Block"):
        longest = np.int64(time if rng.random() < 0.7 else rng.integers(1, time + 1))
        sure = (
            () if longest == time else (1, 6)
        )  # behind the longest only cells and hidden states are cleared
        return Case(
            op, {"seq_len_max": longest, **operands}, attrs, (*constant, "seq_len_max"), compared=sure
        )
    return Case(op, operands, attrs, pick(rng, constant, ()))


@cases_of("GRUBlockCell")
def gru(rng: np.random.Generator, op: str) -> Case:
    batch, depth, units = (int(n) for n in rng.integers(1, 5, 3))
    shapes = {"x": (batch, depth), "h_prev": (batch, units), "w_ru": (depth + units, 2 * units),
              "w_c": (depth + units, units), "b_ru": (2 * units,), "b_c": (units,)}  # fmt: skip
    operands = {name: reals(rng, shape) for name, shape in shapes.items()}
    return Case(op, operands, constant=pick(rng, ("w_ru", "w_c", "b_ru", "b_c"), ()))


def cases(count: int, seed: int = 0, only: tuple[str, ...] = ()) -> list[Case]:
    """`count` cases, every operator in turn."""
    names = list(only or MAKERS)
    return [MAKERS[names[place % len(names)]](np.random.default_rng([seed, place])) for place in range(count)]
