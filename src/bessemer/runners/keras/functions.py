"""Functions called as layers, in NumPy: Keras 3's operations, TensorFlow's functions in tf.keras, and named Lambdas."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.runners.keras.activation import FUNCTIONS as ACTIVATIONS
from bessemer.runners.keras.activation import activated, erf
from bessemer.runners.keras.convolution import back, last
from bessemer.runners.keras.names import OPERATIONS
from bessemer.runners.keras.registry import evaluates
from bessemer.runners.keras.resampling import resampled

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.keras.layer import Layer
    from bessemer.runners.keras.registry import Result


FIRST = ("x", "a", "input", "inputs", "tensor", "value", "images", "image", "t", "features", "params", "values")
"""What the first argument is called."""


class Call:
    """One call: arguments by place, then by name."""

    def __init__(self, placed: list[Any], named: Mapping[str, Any], generation: int) -> None:
        self.placed, self.named, self.generation = placed, named, generation

    def __call__(self, place: int, *names: str, default: Any = None) -> Any:
        """An argument."""
        if place < len(self.placed):
            return self.placed[place]
        return next((self.named[name] for name in names if name in self.named), default)

    @property
    def x(self) -> Any:
        """The first argument."""
        return self(0, *FIRST)

    @property
    def axis(self) -> Any:
        """The axes of a reduction."""
        held = self(1, "axis", "axes", "reduction_indices")
        held = held.tolist() if isinstance(held, np.ndarray) else held
        return tuple(held) if isinstance(held, list) else held


def _pair(call: Call) -> tuple[Any, Any]:
    """Operands; a number takes the other's type unless it is a real beside integers."""
    left, right = call(0, "x", "x1", "a"), call(1, "y", "x2", "b")
    arrays = [item for item in (left, right) if isinstance(item, np.ndarray)]
    if len(arrays) == 2 and arrays[0].dtype != arrays[1].dtype:
        kind = next((a.dtype for a in arrays if a.dtype.kind == "f"), arrays[0].dtype)
        return left.astype(kind), right.astype(kind)
    if len(arrays) == 1:
        made = []
        for item in (left, right):
            if not isinstance(item, np.ndarray):
                item = np.asarray(item)
                real = item.dtype.kind == "f" and arrays[0].dtype.kind != "f"
                item = item.astype(np.float32 if real else arrays[0].dtype)
            made.append(item)
        return made[0], made[1]
    return left, right


def _two(function: Callable[[Any, Any], Any]) -> Callable[[Call], Any]:
    return lambda call: function(*_pair(call))


def _one(function: Callable[[Any], Any]) -> Callable[[Call], Any]:
    return lambda call: function(call.x)


def _over(function: Callable[..., Any]) -> Callable[[Call], Any]:
    return lambda call: function(call.x, axis=call.axis, keepdims=bool(call(2, "keepdims", "keep_dims", default=False)))


def _real(x: Any) -> Any:
    return x if np.asarray(x).dtype.kind == "f" else np.asarray(x).astype(np.float32)


def _divide(call: Call) -> Any:
    left, right = _pair(call)
    return _real(left) / _real(right)


def _where(call: Call) -> Any:
    yes, no = _pair(Call(call.placed[1:], call.named, call.generation))
    return np.where(call(0, "condition"), yes, no)


def _cast(call: Call) -> Any:
    kind = str(call(1, "dtype")).removeprefix("<dtype: '").removesuffix("'>")
    return call.x.astype("float32" if kind in ("float16", "bfloat16") else kind)


def _reshape(call: Call) -> Any:
    shape = call(1, "shape", "newshape")
    items = [shape] if isinstance(shape, int) else list(shape)
    return call.x.reshape([-1 if item is None else int(item) for item in items])


def _split(call: Call) -> Any:
    held, axis = call(1, "num_or_size_splits", "indices_or_sections"), int(call(2, "axis", default=0))
    if isinstance(held, int):
        return np.split(call.x, held, axis)
    return np.split(call.x, np.cumsum(held)[:-1] if call.generation < 3 else list(held), axis)


def _pad(call: Call) -> Any:
    x, held = call.x, call(1, "paddings", "pad_width")
    pairs = [[held, held]] * x.ndim if isinstance(held, int) else [list(map(int, item)) for item in held]
    pairs = pairs if len(pairs) == x.ndim else pairs * x.ndim
    mode = str(call(2, "mode", default="constant")).lower()
    options = {"constant_values": call(3, "constant_values", default=0) or 0} if mode == "constant" else {}
    padded: Any = np.pad
    return padded(x, pairs, mode=mode, **options)


def _getitem(call: Call) -> Any:
    key = call(1, "slice_spec", "key")
    return np.asarray(call.x[tuple(key) if isinstance(key, list | tuple) else key])


def _squeeze(call: Call) -> Any:
    axis = call(1, "axis", "squeeze_dims")
    return np.squeeze(call.x, tuple(axis) if isinstance(axis, list) and axis else axis if isinstance(axis, int) else None)


def _matmul(call: Call) -> Any:
    sides = []
    for item, side in zip(_pair(call), "ab", strict=True):
        turned = call.named.get(f"transpose_{side}") or call.named.get(f"adjoint_{side}")
        sides.append(np.swapaxes(item, -1, -2) if turned else item)
    return sides[0] @ sides[1]


def _einsum(call: Call) -> Any:
    placed = [part for item in call.placed for part in (item if isinstance(item, list) else [item])]
    equation = call.named.get("subscripts", call.named.get("equation"))
    equation = placed.pop(0) if equation is None else equation
    return np.einsum(equation, *placed)


def _extreme(function: Callable[..., Any]) -> Callable[[Call], Any]:
    def run(call: Call) -> Any:
        axis = call(1, "axis", "dimension", default=0 if call.generation < 3 else None)
        found = function(call.x, axis=axis, keepdims=bool(call(2, "keepdims", default=False)))
        return found.astype(np.int64 if call.generation < 3 else np.int32)

    return run


def _resize(call: Call) -> Any:
    from types import SimpleNamespace

    x, size = _real(call.x), [int(item) for item in call(1, "size")]
    like: Any = SimpleNamespace(config={"data_format": call.named.get("data_format")})
    method = str(call(2, "method", "interpolation", default="bilinear")).lower()
    return back(like, resampled(last(like, x), size, method, bool(call.named.get("antialias", False))))


def _unit(call: Call) -> Any:
    squares = (call.x * call.x).sum(axis=call.axis, keepdims=True)
    return call.x / np.sqrt(np.maximum(squares, call(2, "epsilon", default=1e-12)))


def _repeat(call: Call) -> Any:
    return np.repeat(call.x, call(1, "repeats"), call(2, "axis"))


def _take(call: Call) -> Any:
    axis = call(2, "axis", default=0 if call.generation < 3 else None)
    return np.take(call.x, np.asarray(call(1, "indices")).astype(np.int64), axis)


def _floor_divide(call: Call) -> Any:
    left, right = _pair(call)
    return np.floor(_real(left) / _real(right)).astype(np.asarray(left).dtype)


TABLE: dict[str, Callable[[Call], Any]] = {
    "add": _two(np.add), "subtract": _two(np.subtract), "multiply": _two(np.multiply), "divide": _divide,
    "maximum": _two(np.maximum), "minimum": _two(np.minimum), "power": _two(np.power), "equal": _two(np.equal),
    "not_equal": _two(np.not_equal), "greater": _two(np.greater), "greater_equal": _two(np.greater_equal),
    "less": _two(np.less), "less_equal": _two(np.less_equal), "logical_and": _two(np.logical_and),
    "logical_or": _two(np.logical_or), "floor_divide": _floor_divide,
    "squared_difference": _two(lambda a, b: (a - b) ** 2),
    "negative": _one(np.negative), "abs": _one(np.abs), "exp": _one(np.exp), "log": _one(np.log), "sqrt": _one(np.sqrt),
    "rsqrt": _one(lambda x: 1 / np.sqrt(x)), "square": _one(np.square), "sin": _one(np.sin), "cos": _one(np.cos),
    "tan": _one(np.tan), "sinh": _one(np.sinh), "cosh": _one(np.cosh), "arctan": _one(np.arctan), "erf": _one(erf),
    "floor": _one(np.floor), "ceil": _one(np.ceil), "round": _one(np.round), "sign": _one(np.sign),
    "reciprocal": _one(lambda x: 1 / x), "logical_not": _one(np.logical_not), "identity": _one(lambda x: x),
    "stop_gradient": _one(lambda x: x), "any": _over(np.any), "all": _over(np.all),
    "zeros_like": lambda call: np.zeros_like(call.x, call(1, "dtype")),
    "ones_like": lambda call: np.ones_like(call.x, call(1, "dtype")),
    "mean": _over(np.mean), "sum": _over(np.sum), "max": _over(np.max), "min": _over(np.min), "prod": _over(np.prod),
    "var": _over(np.var), "logsumexp": _over(lambda x, axis, keepdims: np.log(np.exp(x).sum(axis, keepdims=keepdims))),
    "argmax": _extreme(np.argmax), "argmin": _extreme(np.argmin), "matmul": _matmul, "einsum": _einsum,
    "where": _where, "cast": _cast, "reshape": _reshape, "split": _split, "pad": _pad, "getitem": _getitem,
    "squeeze": _squeeze, "resize": _resize, "l2_normalize": _unit, "repeat": _repeat, "take": _take,
    "clip": lambda call: np.clip(
        call.x, call(1, "clip_value_min", "x_min", "min_value"), call(2, "clip_value_max", "x_max", "max_value")
    ),
    "transpose": lambda call: np.transpose(call.x, call(1, "perm", "axes")),
    "swapaxes": lambda call: np.swapaxes(call.x, call(1, "axis1"), call(2, "axis2")),
    "moveaxis": lambda call: np.moveaxis(call.x, call(1, "source"), call(2, "destination")),
    "expand_dims": lambda call: np.expand_dims(call.x, call(1, "axis")),
    "concatenate": lambda call: np.concatenate(call.x, axis=int(call(1, "axis", default=-1))),
    "stack": lambda call: np.stack(call.x, axis=int(call(1, "axis", default=0))),
    "unstack": lambda call: [
        np.take(call.x, at, int(call(2, "axis", default=0))) for at in range(call.x.shape[int(call(2, "axis", default=0))])
    ],
    "add_n": lambda call: sum(call.x[1:], call.x[0]),
    "tile": lambda call: np.tile(call.x, call(1, "multiples", "repeats")),
    "flip": lambda call: np.flip(call.x, call.axis),
    "shape": lambda call: np.array(call.x.shape, np.int32),
}  # fmt: skip
ALIASES = {
    "add_v2": "add", "sub": "subtract", "mul": "multiply", "pow": "power", "true_divide": "divide", "truediv": "divide",
    "div": "divide", "real_div": "divide", "realdiv": "divide", "floordiv": "floor_divide", "neg": "negative",
    "absolute": "abs", "clip_by_value": "clip", "concat": "concatenate", "concat_v2": "concatenate", "get_item": "getitem",
    "gather": "take", "gather_v2": "take", "reverse": "flip", "reverse_v2": "flip", "image.resize": "resize",
    "reduce_variance": "var", "where_v2": "where", "select": "where", "pad_v2": "pad", "mat_mul": "matmul",
    "batch_mat_mul": "matmul", "batch_mat_mul_v2": "matmul", "reduce_logsumexp": "logsumexp", "saturate_cast": "cast",
    "divide_no_nan": "divide", "floor_div": "floor_divide",
} | {f"reduce_{name}": name for name in ("mean", "sum", "max", "min", "prod", "any", "all")}  # fmt: skip
LISTED = ("concatenate", "stack", "add_n")


def called(name: str, call: Call) -> Result:
    """A function by its plain name. Raises KeyError for one that is not known."""
    name = ALIASES.get(name, name)
    if name in TABLE:
        made = TABLE[name](call)
        return list(made) if isinstance(made, list) else _kept(np.asarray(made), call)
    options = {key: item for key, item in call.named.items() if not isinstance(item, np.ndarray)}
    if name == "leaky_relu" and "alpha" in options:
        options["negative_slope"] = options.pop("alpha")
    if name != "hard_sigmoid" and name not in ACTIVATIONS:
        raise KeyError(name)
    return activated(_real(call.x), {"class_name": name, "config": options}, call.generation)


def _kept(made: Array, call: Call) -> Array:
    """Reals stay float32."""
    return made.astype(np.float32) if made.dtype == np.float64 else made


def _words(kind: str) -> str:
    made = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)
    return made.lstrip("_").replace("_v_2", "_v2")


def _run(layer: Layer, inputs: Sequence[Array], name: str) -> Result:
    made_with = {key: item for key, item in layer.config.items() if layer.kind.startswith("ops.") or key != "dtype"}
    named = {key: item for key, item in {**made_with, **layer.call}.items() if key not in ("args", "name", "mask")}
    placed, listed = list(layer.call.get("args", inputs)), ALIASES.get(name, name) in LISTED
    if listed and "args" not in layer.call:
        placed = [list(inputs)]
    elif placed and isinstance(placed[0], list) and not listed and name != "einsum":
        placed = placed[0]
    return called(name, Call(placed, named, layer.generation))


@evaluates("TFOpLambda", "SlicingOpLambda")
def tensorflow_function(layer: Layer, inputs: Sequence[Array]) -> Result:
    """By its public name."""
    full = str(layer.config["function"])
    return _run(layer, inputs, full if full.startswith("image.") else full.rsplit(".", 1)[-1])


@evaluates("TensorFlowOpLayer")
def tensorflow_node(layer: Layer, inputs: Sequence[Array]) -> Result:
    """A NodeDef with its constants."""
    node = layer.config["node_def"]
    node = json.loads(node) if isinstance(node, str) else node
    placed: list[Any] = list(inputs)
    for place, held in sorted((int(key), item) for key, item in (layer.config.get("constants") or {}).items()):
        placed.insert(place, held)
    name = _words(str(node["op"]))
    if name == "concat_v2":
        placed = [placed[:-1], placed[-1]]
    attributes = {key: _plain(item) for key, item in (node.get("attr") or {}).items()}
    return called(name, Call(placed, attributes, layer.generation))


def _plain(item: Any) -> Any:
    if not isinstance(item, dict) or not item:
        return item
    (kind, held), *_ = item.items()
    if kind == "list":
        return [int(part) for part in next(iter(held.values()), [])]
    return int(held) if kind == "i" else float(held) if kind == "f" else held


@evaluates("Lambda")
def anonymous(layer: Layer, inputs: Sequence[Array]) -> Result:
    """A function that the file names."""
    held = layer.config.get("function")
    name = held.get("config") if isinstance(held, dict) else held
    return called(str(name), Call(list(inputs), dict(layer.config.get("arguments") or {}), layer.generation))


@evaluates(*(f"ops.{name}" for name in OPERATIONS))
def operation(layer: Layer, inputs: Sequence[Array]) -> Result:
    """What its class was made with, then what it is called with."""
    return _run(layer, inputs, _words(layer.kind.removeprefix("ops.")))
