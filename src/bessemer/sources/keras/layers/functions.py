"""Functions called as layers: Keras 3's operations, TensorFlow's functions in tf.keras, and Lambda where it names one.

A function takes its arguments as `Arguments`: by place or by any of the names that one of these dialects has for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bessemer.runners.keras.layer import Layer
from bessemer.runners.keras.names import OPERATIONS
from bessemer.sources.channels_last.elementwise import applied
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.keras.activations import FUNCTIONS as ACTIVATIONS
from bessemer.sources.keras.activations import PLAIN, activate, named
from bessemer.sources.keras.operations.arguments import TABLE, Arguments, Drawn
from bessemer.sources.keras.operations.arithmetic import UNARY
from bessemer.sources.keras.operations.moving import add_n, concatenate, stack
from bessemer.sources.keras.registry import layer


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


layer(*(f"ops.{name}" for name in OPERATIONS))(operation)
