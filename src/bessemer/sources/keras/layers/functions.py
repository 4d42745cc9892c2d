"""Functions called as layers: Keras 3's operations, TensorFlow's functions in tf.keras, and Lambda where it names one.

A function takes its arguments as `Arguments`: by place or by any of the names that one of these dialects has for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bessemer.sources.channels_last import shaping
from bessemer.sources.channels_last.elementwise import applied, cast, chosen, compared
from bessemer.sources.channels_last.matmul import einsum, matmul
from bessemer.sources.channels_last.padding import pad
from bessemer.sources.channels_last.reduce import extreme_place, logical, reduced
from bessemer.sources.channels_last.resize import resize
from bessemer.sources.channels_last.select import gather
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import FUNCTIONS as ACTIVATIONS
from bessemer.sources.keras.activations import PLAIN, activate, clip, named
from bessemer.sources.keras.layer import Layer
from bessemer.sources.keras.layers.core import floats
from bessemer.sources.keras.registry import layer

Drawn = Ordered | Sequence[Ordered]
REQUIRED = object()


@dataclass(frozen=True)
class Arguments:
    """What a function is called with: tensors, numbers and lists. generation: Keras's."""

    canvas: Canvas
    placed: list[Any]
    named: dict[str, Any]
    generation: int = 3

    def get(self, place: int, *names: str, default: Any = REQUIRED) -> Any:
        """The argument at a place, or by the first of the names that is there; raises Unsupported for a missing one."""
        if 0 <= place < len(self.placed):
            return self.placed[place]
        found = next((self.named[name] for name in names if name in self.named), default)
        if found is REQUIRED:
            raise Unsupported("argument", f"its argument {names[0] if names else place} is missing")
        return found

    def tensor(self, place: int, *names: str, like: Ordered | None = None) -> Ordered:
        """A tensor; a number becomes a constant in the type of `like`."""
        held = self.get(place, *(names or ("x", "a", "input", "inputs", "tensor", "input_tensor", "features", "image")))
        if isinstance(held, Ordered):
            return held
        kind = np.float32 if like is None else like.dtype.numpy()
        return self.canvas.constant(np.asarray(held).astype(kind), "number")

    def pair(self) -> tuple[Ordered, Ordered]:
        """Two operands, either of which may be a number."""
        left, right = self.get(0, "x", "x1", "a"), self.get(1, "y", "x2", "b")
        like = next((item for item in (left, right) if isinstance(item, Ordered)), None)
        if like is None:
            raise Unsupported("argument", "it works on numbers alone")
        made = [item if isinstance(item, Ordered) else self._number(item, like) for item in (left, right)]
        return made[0], made[1]

    def _number(self, item: Any, like: Ordered) -> Ordered:
        array = np.asarray(item)
        if array.dtype.kind == "f" and like.dtype.numpy().kind in "iub":
            return self.canvas.constant(array.astype(np.float32), "number")
        return self.canvas.constant(array.astype(like.dtype.numpy()), "number")

    def whole(self, place: int, *names: str, default: Any = REQUIRED) -> Any:
        """A number or a list of numbers, in a constant tensor too; raises Unsupported for a computed one."""
        held = self.get(place, *names, default=default)
        if isinstance(held, Ordered):
            if held.known is None:
                raise Unsupported("computed-argument", f"its argument {names[0]} is computed")
            return held.known.tolist()
        return held


Function = Callable[[Canvas, Arguments], Drawn]
TABLE: dict[str, Function] = {}


def function(*names: str) -> Callable[[Function], Function]:
    """Register by the names that dialects have for it, in lower case with underscores."""

    def register(made: Function) -> Function:
        for name in names:
            TABLE[name] = made
        return made

    return register


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
        return reduced(canvas, x, operator, _axes(arguments, x), keepdims=_keep(arguments))

    function(*names)(draw)


def _axes(arguments: Arguments, x: Ordered) -> list[int]:
    held = arguments.whole(1, "axis", "axes", "reduction_indices", default=None)
    return list(range(x.rank)) if held is None else [held] if isinstance(held, int) else list(held)


def _keep(arguments: Arguments) -> bool:
    return bool(arguments.get(2, "keepdims", "keep_dims", default=False))


for _name, _operator in REDUCTIONS.items():
    _reduction(_operator, _name, f"reduce_{_name}")


@function("var", "reduce_variance")
def spread(canvas: Canvas, arguments: Arguments) -> Ordered:
    """The (population) variance."""
    x = arguments.tensor(0)
    axes = _axes(arguments, x)
    gap = applied(canvas, "Sub", x, reduced(canvas, x, "ReduceMean", axes, keepdims=True))
    return reduced(canvas, applied(canvas, "Mul", gap, gap), "ReduceMean", axes, keepdims=_keep(arguments))


@function("argmax", "argmin")
def place_of_extreme(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Which element is the largest or the smallest along an axis."""
    import onnx_ir

    x, axis = arguments.tensor(0), arguments.whole(1, "axis", "dimension", default=0 if arguments.generation < 3 else None)
    largest = bool(arguments.named.get("largest", True))
    if axis is None:
        raise Unsupported("argument", "the place of an extreme over all axes")
    kind = onnx_ir.DataType.INT64 if arguments.generation < 3 else onnx_ir.DataType.INT32
    return extreme_place(canvas, x, largest, int(axis), kind, keepdims=_keep(arguments))


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


@function("reshape")
def reshape(canvas: Canvas, arguments: Arguments) -> Ordered:
    """One dim may be -1, others computed."""
    x, held = arguments.tensor(0), arguments.get(1, "shape", "newshape")
    if isinstance(held, Ordered) and held.known is None:
        sizes: list[Any] = [None] * int(held.static[0])
        return shaping.reshape(canvas, x, sizes, held)
    listed = held.known.tolist() if isinstance(held, Ordered) and held.known is not None else held
    listed = [listed] if isinstance(listed, int) else list(listed)
    dims = [_dim(item) for item in listed]
    if all(isinstance(dim, int) for dim in dims):
        first = len(dims) > 0 and dims[0] == -1 and dims.count(-1) == 1
        rest = [dim for dim in dims[1:] if isinstance(dim, int)]
        if first and all(isinstance(d, int) for d in x.shape[1:]) and int(np.prod(rest)) == int(np.prod(x.shape[1:])):  # type: ignore[arg-type]
            return shaping.reshape(canvas, x, [x.shape[0], *rest])
        return shaping.reshape(canvas, x, dims)
    return shaping.reshape(canvas, x, [None if dim is None else dim for dim in dims], _vector(canvas, listed))


def _dim(item: Any) -> int | None:
    if isinstance(item, Ordered):
        return None if item.known is None else int(item.known)
    return None if item is None else int(item)


def _vector(canvas: Canvas, items: Sequence[Any]) -> Ordered:
    """Numbers and computed scalars as one vector."""
    import onnx_ir

    parts = []
    for item in items:
        if isinstance(item, Ordered):
            whole = cast(canvas, item, onnx_ir.DataType.INT64)
            parts.append(shaping.reshape(canvas, whole, [1]))
        else:
            parts.append(canvas.constant(np.array([-1 if item is None else item], np.int64), "size"))
    return shaping.concat(canvas, parts, 0)


@function("transpose")
def transpose(canvas: Canvas, arguments: Arguments) -> Ordered:
    """All axes turned round unless they are said."""
    x = arguments.tensor(0)
    held = arguments.whole(1, "perm", "axes", default=None)
    return shaping.transpose(canvas, x, list(range(x.rank))[::-1] if held is None else held)


@function("swapaxes")
def swapaxes(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Two axes exchanged."""
    x = arguments.tensor(0)
    first, second = (int(arguments.whole(at, f"axis{at}")) % x.rank for at in (1, 2))
    order = list(range(x.rank))
    order[first], order[second] = second, first
    return shaping.transpose(canvas, x, order)


@function("moveaxis")
def moveaxis(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Axes moved to other places."""
    x = arguments.tensor(0)
    order = _moved(x.rank, arguments.whole(1, "source"), arguments.whole(2, "destination"))
    return shaping.transpose(canvas, x, order)


def _moved(rank: int, source: Any, target: Any) -> list[int]:
    sources = [axis % rank for axis in ([source] if isinstance(source, int) else source)]
    targets = [axis % rank for axis in ([target] if isinstance(target, int) else target)]
    order = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(place, axis)
    return order


@function("expand_dims")
def expand_dims(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A new axis, or several."""
    axis = arguments.whole(1, "axis")
    return shaping.expand_dims(canvas, arguments.tensor(0), [axis] if isinstance(axis, int) else axis)


@function("squeeze")
def squeeze(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Axes of size one."""
    held = arguments.whole(1, "axis", "squeeze_dims", default=None)
    axes = [held] if isinstance(held, int) else held
    return shaping.squeeze(canvas, arguments.tensor(0), axes or None)


@function("concatenate", "concat")
def concatenate(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A list of tensors along an axis."""
    return shaping.concat(canvas, _tensors(arguments), int(arguments.whole(1, "axis", default=-1)))


@function("stack")
def stack(canvas: Canvas, arguments: Arguments) -> Ordered:
    """A list of tensors along a new axis."""
    return shaping.stack(canvas, _tensors(arguments), int(arguments.whole(1, "axis", default=0)))


@function("add_n")
def add_n(canvas: Canvas, arguments: Arguments) -> Ordered:
    """The sum of a list of tensors."""
    made, *others = _tensors(arguments)
    for tensor in others:
        made = applied(canvas, "Add", made, tensor)
    return made


def _tensors(arguments: Arguments) -> list[Ordered]:
    held = arguments.get(0, "values", "xs", "inputs", "x")
    if not isinstance(held, list | tuple) or not any(isinstance(item, Ordered) for item in held):
        raise Unsupported("argument", "it is not called on a list of tensors")
    like = next(item for item in held if isinstance(item, Ordered))
    return [
        item if isinstance(item, Ordered) else arguments.canvas.constant(np.asarray(item, like.dtype.numpy()), "number")
        for item in held
    ]


@function("split")
def split(canvas: Canvas, arguments: Arguments) -> list[Ordered]:
    """Equal parts, or parts of given sizes; Keras's list says where to cut."""
    x = arguments.tensor(0, "value", "x")
    axis = int(arguments.whole(2, "axis", default=0))
    held = arguments.whole(1, "num_or_size_splits", "indices_or_sections")
    if isinstance(held, int):
        return shaping.split(canvas, x, axis, held)
    if arguments.generation < 3:
        return shaping.split(canvas, x, axis, list(held))
    size = x.shape[axis % x.rank]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "cuts of an unbound axis")
    bounds = [0, *held, size]
    return shaping.split(canvas, x, axis, [high - low for low, high in pairwise(bounds)])


@function("unstack")
def unstack(canvas: Canvas, arguments: Arguments) -> list[Ordered]:
    """The slices along an axis."""
    x, axis = arguments.tensor(0, "value", "x"), int(arguments.whole(2, "axis", default=0))
    size = x.shape[axis % x.rank]
    if not isinstance(size, int):
        raise Unsupported("dynamic-shape", "slices of an unbound axis")
    return shaping.unstack(canvas, x, axis, size)


@function("pad", "pad_v2")
def padded(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Constants, or the border mirrored."""
    x, held = arguments.tensor(0), arguments.whole(1, "paddings", "pad_width")
    if isinstance(held, int):
        held = [[held, held]] * x.rank
    pairs = [(int(item[0]), int(item[1])) for item in (held if len(held) == x.rank else list(held) * x.rank)]
    mode = str(arguments.get(2, "mode", default="constant")).lower()
    return pad(canvas, x, pairs, mode=mode, value=arguments.get(3, "constant_values", default=0) or 0)


@function("tile")
def tile(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Repeated along each axis."""
    return shaping.tile(canvas, arguments.tensor(0), list(arguments.whole(1, "multiples", "repeats")))


@function("repeat")
def repeat(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Every element so many times along an axis."""
    x, times = arguments.tensor(0), arguments.whole(1, "repeats")
    axis = arguments.whole(2, "axis", default=None)
    size = None if axis is None else x.shape[axis % x.rank]
    if not isinstance(times, int) or not isinstance(size, int):
        raise Unsupported("argument", "repeats that differ, or along no axis or an unbound one")
    places = canvas.constant(np.repeat(np.arange(size, dtype=np.int64), times), "places")
    return gather(canvas, x, places, axis % x.rank)


@function("take", "gather", "gather_v2")
def take(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Slices along an axis by index."""
    x = arguments.tensor(0, "x", "params")
    held = arguments.get(1, "indices")
    places = held if isinstance(held, Ordered) else canvas.constant(np.asarray(held, np.int64), "places")
    axis = arguments.whole(2, "axis", default=0 if arguments.generation < 3 else None)
    if axis is None:
        raise Unsupported("argument", "elements by index of all axes at once")
    return gather(canvas, x, places, int(axis) % x.rank)


@function("flip", "reverse", "reverse_v2")
def flip(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Turned round along axes."""
    x = arguments.tensor(0)
    return shaping.reverse(canvas, x, _axes(arguments, x))


@function("zeros_like", "ones_like")
def filled_like(canvas: Canvas, arguments: Arguments) -> Ordered:
    """All zeros, or all ones, of a tensor's shape, in a type of its own or the tensor's."""
    from bessemer.ir.types import named_dtype

    x, kind = arguments.tensor(0), arguments.get(1, "dtype", default=None)
    held = np.asarray(int(bool(arguments.named.get("ones"))))
    one = canvas.constant(held.astype(x.dtype.numpy() if kind is None else named_dtype(str(kind))), "filling")
    return shaping.broadcast_to(canvas, one, x.shape, shaping.shape_vector(canvas, x))


@function("any", "all", "reduce_any", "reduce_all")
def logical_reduction(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Whether one of several booleans, or every one, is true."""
    x = arguments.tensor(0)
    return logical(canvas, x, bool(arguments.named.get("every")), _axes(arguments, x), keepdims=_keep(arguments))


@function("shape")
def shape(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Its dims as int32."""
    import onnx_ir

    return shaping.shape_vector(canvas, arguments.tensor(0), onnx_ir.DataType.INT32)


@function("getitem", "get_item")
def get_item(canvas: Canvas, arguments: Arguments) -> Ordered:
    """x[...] with numbers, slices, an ellipsis and new axes."""
    x, key = arguments.tensor(0), arguments.get(1, "slice_spec", "key")
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if Ellipsis in [item for item in keys if not isinstance(item, Ordered)]:
        at = next(place for place, item in enumerate(keys) if item is Ellipsis)
        missing = x.rank - sum(item is not None and item is not Ellipsis for item in keys)
        keys[at : at + 1] = [slice(None)] * missing
    axis, gone, fresh = 0, list[int](), list[int]()
    place = 0
    for item in keys:
        if item is None:
            fresh.append(place)
            place += 1
            continue
        if isinstance(item, int):
            x = shaping.cut(canvas, x, axis, item, None if item == -1 else item + 1)
            gone.append(axis)
        elif isinstance(item, slice):
            bounds = [_bound(part) for part in (item.start, item.stop, item.step)]
            x = shaping.cut(canvas, x, axis, bounds[0], bounds[1], 1 if bounds[2] is None else bounds[2])
            place += 1
        else:
            raise Unsupported("index", f"an index that is computed or a {type(item).__name__}")
        axis += 1
    made = shaping.squeeze(canvas, x, gone) if gone else x
    return shaping.expand_dims(canvas, made, fresh) if fresh else made


def _bound(part: Any) -> int | None:
    if isinstance(part, Ordered):
        raise Unsupported("index", "a slice with a computed bound")
    return None if part is None else int(part)


@function("image.resize", "resize")
def resized(canvas: Canvas, arguments: Arguments) -> Ordered:
    """Pictures at another size."""
    x = floats(canvas, arguments.tensor(0, "images", "image"))
    size = [int(item) for item in arguments.whole(1, "size")]
    method = str(arguments.get(2, "method", "interpolation", default="bilinear")).lower()
    if arguments.named.get("preserve_aspect_ratio") or arguments.named.get("crop_to_aspect_ratio"):
        raise Unsupported("argument", "a resize that keeps the aspect ratio", "use a Resizing layer")
    smooth = bool(arguments.named.get("antialias", False))
    first = arguments.named.get("data_format") == "channels_first"
    return resize(canvas, x, size, method=method, antialias=smooth, first=first)


@function("l2_normalize")
def l2_normalize(canvas: Canvas, arguments: Arguments) -> Ordered:
    """x / sqrt(max(sum(x^2), epsilon))."""
    from bessemer.sources.channels_last.normalization import unit_norm

    x = arguments.tensor(0)
    return unit_norm(canvas, x, axes=_axes(arguments, x), epsilon=float(arguments.get(2, "epsilon", default=1e-12)))


def called(canvas: Canvas, name: str, arguments: Arguments) -> Drawn:
    """A function by its plain name; activations and simple operators are functions, too. Raises Unsupported."""
    if name in TABLE:
        return TABLE[name](canvas, arguments)
    if name in UNARY:
        return applied(canvas, UNARY[name], arguments.tensor(0))
    if name in ACTIVATIONS or name in PLAIN or name in ("hard_sigmoid", "linear"):
        options = {key: item for key, item in arguments.named.items() if not isinstance(item, Ordered)}
        options |= {"negative_slope": options["alpha"]} if "alpha" in options and name == "leaky_relu" else {}
        spec = {"class_name": name, "config": options}
        return activate(canvas, arguments.tensor(0), spec, arguments.generation)
    raise Unsupported("no-reader", f"the function '{name}' has no reading here")


def plain_name(full: str) -> str:
    """'math.reduce_mean' as 'reduce_mean'; 'image.resize' stays whole."""
    return full if full.startswith("image.") else full.rsplit(".", 1)[-1]


@layer("TFOpLambda", "SlicingOpLambda")
def tensorflow_function(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Drawn:
    """tf.keras: the function's public name, its tensors by place and everything else by name."""
    return called(canvas, *bound(canvas, layer, inputs, plain_name(str(layer.config["function"]))))


def bound(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered], name: str) -> tuple[str, Arguments]:
    """The function's name and its arguments."""
    made_with = {key: item for key, item in layer.config.items() if layer.kind.startswith("ops.") or key != "dtype"}
    named_ = {key: item for key, item in (made_with | layer.call).items() if key not in ("args", "name", "mask")}
    placed = list(layer.call.get("args", inputs))
    listed = TABLE.get(name) in (concatenate, stack, add_n)
    if listed and "args" not in layer.call:
        placed = [list(inputs)]
    elif placed and isinstance(placed[0], list) and not listed and name != "einsum":
        placed = placed[0]
    if name in ("argmin", "argmax"):
        named_ |= {"largest": name == "argmax"}
    if name in ("zeros_like", "ones_like"):
        named_ |= {"ones": name == "ones_like"}
    if name in ("all", "reduce_all"):
        named_ |= {"every": True}
    return name, Arguments(canvas, placed, named_, layer.generation)


def _words(kind: str) -> str:
    """'ExpandDims' as 'expand_dims'."""
    made = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)
    return made.lstrip("_").replace("_v_2", "_v2")


def operation(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Drawn:
    """Keras 3's operations: what its class was made with, then what it is called with."""
    return called(canvas, *bound(canvas, layer, inputs, _words(layer.kind.removeprefix("ops."))))


@layer("TensorFlowOpLayer")
def tensorflow_node(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Drawn:
    """tf.keras before 2.4: a NodeDef, and the operands that are constants by place."""
    node = layer.config["node_def"]
    node = json.loads(node) if isinstance(node, str) else node
    placed: list[Any] = list(inputs)
    for place, held in sorted((int(key), item) for key, item in (layer.config.get("constants") or {}).items()):
        placed.insert(place, held)
    name = _words(str(node["op"]))
    attributes = {key: _attribute(item) for key, item in (node.get("attr") or {}).items()}
    if name == "concat_v2":
        name, placed = "concatenate", [placed[:-1], placed[-1]]
    if name not in NODES and name not in UNARY and name not in PLAIN:
        raise Unsupported("no-reader", f"the TensorFlow operator {node['op']} inside a Keras model has no reading here")
    return called(canvas, name, Arguments(canvas, placed, attributes, layer.generation))


NODES = frozenset({
    "add", "add_v2", "sub", "mul", "real_div", "pow", "maximum", "minimum", "square", "rsqrt", "squared_difference",
    "mean", "sum", "max", "min", "prod", "reshape", "transpose", "expand_dims", "squeeze", "concatenate", "pad", "pad_v2",
    "tile", "softmax", "relu6", "elu", "selu", "leaky_relu", "equal", "greater", "greater_equal", "less", "less_equal",
})  # fmt: skip
"""Operators of a NodeDef whose operands stand as the functions above take them."""


def _attribute(item: Any) -> Any:
    if not isinstance(item, dict) or not item:
        return item
    (kind, held), *_ = item.items()
    if kind == "list":
        found = next(iter(held.values()), []) if isinstance(held, dict) else held
        return [int(part) for part in found]
    return int(held) if kind == "i" else float(held) if kind == "f" else held


@layer("Lambda")
def anonymous(canvas: Canvas, layer: Layer, inputs: Sequence[Ordered]) -> Drawn:
    """A function that the file names and that is known here; code in a file is never run."""
    held = layer.config.get("function")
    name = held if isinstance(held, str) and layer.config.get("function_type") != "lambda" else _function_name(held)
    options = layer.config.get("arguments") or {}
    if name is None or (name not in TABLE and name not in UNARY and name not in ACTIVATIONS and name not in PLAIN):
        raise Unsupported(
            "lambda", "its function is Python code in the file, which is never run",
            "replace it by built-in layers, or cut the model before it",
        )  # fmt: skip
    return called(canvas, name, Arguments(canvas, list(inputs), dict(options), layer.generation))


def _function_name(held: Any) -> str | None:
    if isinstance(held, dict) and held.get("class_name") == "function":
        try:
            return named(held)[0]
        except Unsupported:
            return None
    return None


OPERATIONS = (
    "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "FloorDivide", "Power", "Maximum", "Minimum", "Negative",
    "Absolute", "Abs", "Exp", "Log", "Sqrt", "Rsqrt", "Square", "Sin", "Cos", "Tan", "Tanh", "Sinh", "Cosh", "Arctan",
    "Floor", "Ceil", "Round", "Sign", "Erf", "Reciprocal", "Sigmoid", "Relu", "Relu6", "Silu", "Gelu", "Softmax",
    "LogSoftmax", "Softplus", "Softsign", "Elu", "Selu", "Celu", "Glu", "LeakyRelu", "HardSigmoid", "HardSilu", "HardTanh",
    "HardShrink", "SoftShrink", "TanhShrink", "LogSigmoid", "Squareplus", "SparsePlus", "SparseSigmoid", "Mish", "Mean",
    "Sum", "Max", "Min", "Prod", "Logsumexp", "Var", "Argmax", "Argmin", "Matmul", "Einsum", "Reshape", "Transpose",
    "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Concatenate", "Stack", "Split", "Unstack", "Pad", "Tile", "Repeat",
    "Take", "Flip", "Clip", "Cast", "Where", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual",
    "LogicalAnd", "LogicalOr", "LogicalNot", "GetItem", "Resize", "ZerosLike", "OnesLike", "StopGradient", "Identity",
    "Any", "All",
)  # fmt: skip
"""Keras 3's operations by class name; the network calls them 'ops.<class>', since layers have the same names."""

layer(*(f"ops.{name}" for name in OPERATIONS))(operation)
