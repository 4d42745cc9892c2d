"""Functions that compute."""

from __future__ import annotations

from bessemer.sources.channels_last.elementwise import applied, cast, chosen, compared
from bessemer.sources.channels_last.matmul import einsum, matmul
from bessemer.sources.channels_last.reduce import extreme_place, logical, reduced
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import clip
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.operations.arguments import Arguments, function


def _binary(operator: str, *names: str, boolean: bool = False) -> None:
    def draw(canvas: Canvas, arguments: Arguments) -> Ordered:
        left, right = _alike(canvas, *arguments.pair())
        return compared(canvas, operator, left, right) if boolean else applied(canvas, operator, left, right)

    function(*names)(draw)


def _alike(canvas: Canvas, left: Ordered, right: Ordered) -> tuple[Ordered, Ordered]:
    """Integers beside reals become reals, as Keras promotes them."""
    kinds = [item.dtype.numpy().kind for item in (left, right)]
    if left.dtype == right.dtype or "f" not in kinds:
        return left, right
    return (floats(canvas, left), right) if kinds[1] == "f" else (left, floats(canvas, right))


for _operator, _names in {
    "Add": ("add", "add_v2"), "Sub": ("subtract", "sub"), "Mul": ("multiply", "mul"),
    "Max": ("maximum",), "Min": ("minimum",), "Pow": ("pow", "power"),
}.items():  # fmt: skip
    _binary(_operator, *_names)
for _operator, _names in {
    "Equal": ("equal",), "Greater": ("greater",), "GreaterOrEqual": ("greater_equal",), "Less": ("less",),
    "LessOrEqual": ("less_equal",), "And": ("logical_and",), "Or": ("logical_or",),
}.items():  # fmt: skip
    _binary(_operator, *_names, boolean=True)

UNARY = {
    "negative": "Neg", "neg": "Neg", "abs": "Abs", "absolute": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sign": "Sign",
    "erf": "Erf", "reciprocal": "Reciprocal", "logical_not": "Not", "tanh": "Tanh", "sigmoid": "Sigmoid",
    "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "identity": "Identity", "stop_gradient": "Identity",
}  # fmt: skip


@function("divide", "true_divide", "truediv", "div", "real_div", "realdiv", "divide_no_nan")
def divide(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Of reals; integers are made reals."""
    left, right = arguments.pair()
    return applied(canvas, "Div", floats(canvas, left), floats(canvas, right))


@function("not_equal")
def not_equal(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Where two tensors differ."""
    return applied(canvas, "Not", compared(canvas, "Equal", *_alike(canvas, *arguments.pair())))


@function("floor_divide", "floordiv", "floor_div")
def floor_divide(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Rounded down."""
    left, right = _alike(canvas, *arguments.pair())
    made = applied(canvas, "Floor", applied(canvas, "Div", floats(canvas, left), floats(canvas, right)))
    return cast(canvas, made, left.dtype)


@function("square")
def square(canvas: Canvas, arguments: Arguments) -> Ordered:
    """x * x."""
    x = arguments.tensor(0)
    return applied(canvas, "Mul", x, x)


@function("squared_difference")
def squared_difference(canvas: Canvas, arguments: Arguments) -> Ordered:
    """(x - y)^2."""
    gap = applied(canvas, "Sub", *_alike(canvas, *arguments.pair()))
    return applied(canvas, "Mul", gap, gap)


@function("rsqrt")
def rsqrt(canvas: Canvas, arguments: Arguments) -> Ordered:
    """1 / sqrt(x)."""
    return applied(canvas, "Reciprocal", applied(canvas, "Sqrt", arguments.tensor(0)))


@function("clip", "clip_by_value")
def clipped(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Between two numbers."""
    low = arguments.whole(1, "clip_value_min", "x_min", "min_value")
    high = arguments.whole(2, "clip_value_max", "x_max", "max_value")
    return clip(canvas, arguments.tensor(0, "x", "t", "inputs"), low=low, high=high)


@function("cast", "saturate_cast")
def casted(canvas: Canvas, arguments: Arguments) -> Ordered:
    """To a type by name."""
    import onnx_ir

    from bessemer.ir.types import named_dtype

    kind = str(arguments.get(1, "dtype"))
    name = kind.removeprefix("<dtype: '").removesuffix("'>")
    wanted = onnx_ir.DataType.from_numpy(named_dtype("float32" if name in ("float16", "bfloat16") else name))
    return cast(canvas, arguments.tensor(0), wanted)


@function("where", "where_v2", "select")
def where(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Elements of one of two tensors."""
    shifted = Arguments(canvas, arguments.placed[1:], arguments.named)
    yes, no = _alike(canvas, *shifted.pair())
    return chosen(canvas, arguments.tensor(0, "condition"), yes, no)


REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd",
              "logsumexp": "ReduceLogSumExp"}  # fmt: skip


def _reduction(operator: str, *names: str) -> None:
    def draw(canvas: Canvas, arguments: Arguments) -> Ordered:
        x = arguments.tensor(0)
        return reduced(canvas, x, operator, arguments.axes(x), keepdims=arguments.keepdims)

    function(*names)(draw)


for _name, _operator in REDUCTIONS.items():
    _reduction(_operator, _name, f"reduce_{_name}")


@function("var", "reduce_variance")
def spread(canvas: Canvas, arguments: Arguments) -> Ordered:
    """The (population) variance."""
    x = arguments.tensor(0)
    axes = arguments.axes(x)
    gap = applied(canvas, "Sub", x, reduced(canvas, x, "ReduceMean", axes, keepdims=True))
    return reduced(canvas, applied(canvas, "Mul", gap, gap), "ReduceMean", axes, keepdims=arguments.keepdims)


@function("argmax", "argmin")
def place_of_extreme(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Which element is the largest or the smallest along an axis."""
    import onnx_ir

    x, axis = arguments.tensor(0), arguments.whole(1, "axis", "dimension", default=0 if arguments.generation < 3 else None)
    largest = bool(arguments.named.get("largest", True))
    if axis is None:
        raise Unsupported("argument", "the place of an extreme over all axes")
    kind = onnx_ir.DataType.INT64 if arguments.generation < 3 else onnx_ir.DataType.INT32
    return extreme_place(canvas, x, largest, int(axis), kind, keepdims=arguments.keepdims)


@function("matmul", "mat_mul", "batch_mat_mul", "batch_mat_mul_v2")
def product(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Of the last two axes."""
    turned = [
        any(arguments.named.get(f"{word}_{side}") for word in ("transpose", "adjoint")) for side in ("a", "b")
    ]
    return matmul(canvas, *arguments.pair(), transpose_first=turned[0], transpose_second=turned[1])


@function("einsum")
def einstein(canvas: Canvas, arguments: Arguments) -> Ordered:
    """By an equation."""
    equation = arguments.get(-1, "subscripts", "equation", default=None)
    placed = [part for item in arguments.placed for part in (item if isinstance(item, list) else [item])]
    equation = placed.pop(0) if equation is None else equation
    if not isinstance(equation, str) or not all(isinstance(item, Ordered) for item in placed):
        raise Unsupported("argument", "an einsum of other than an equation and tensors")
    return einsum(canvas, equation, placed)


@function("any", "all", "reduce_any", "reduce_all")
def logical_reduction(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Whether one of several booleans, or every one, is true."""
    x = arguments.tensor(0)
    return logical(canvas, x, bool(arguments.named.get("every")), arguments.axes(x), keepdims=arguments.keepdims)


@function("l2_normalize")
def l2_normalize(canvas: Canvas, arguments: Arguments) -> Ordered:
    """x / sqrt(max(sum(x^2), epsilon))."""
    from bessemer.sources.channels_last.normalization import unit_norm

    x = arguments.tensor(0)
    return unit_norm(canvas, x, axes=arguments.axes(x), epsilon=float(arguments.get(2, "epsilon", default=1e-12)))
