"""torch's quantized modules (eager mode and FX graphs) as floats between quantize and dequantize: torch.export takes those.

A quantized module works on quantized tensors, with weights packed for a kernel. Here each becomes what it means: the float
operator on dequantized codes, its result rounded to the scale and zero point that the module holds, or, where it holds
none (pooling), those that it was seen to answer with. The hub turns the pairs into encodings.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bessemer.ir.errors import Blocker, Declined

Scheme = tuple[float, int, Any]
"""(scale, zero point, dtype) of a quantized tensor of one scale."""


def is_quantized(module: Any) -> bool:
    """Whether a part of a module works on quantized tensors."""
    return any(_kind(part) for part in module.modules())


def _kind(part: Any) -> str:
    """The class' name of a quantized module; '' for others."""
    place = type(part).__module__
    found = ".quantized." in f"{place}." and not place.startswith("torch.ao.nn.quantized.reference")
    dynamic = "dynamic " if ".dynamic" in place else ""
    return f"{dynamic}{type(part).__name__}" if found and place.startswith("torch.") else ""


def reference_of(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A module of floats that answers as the quantized one does. Raises Declined naming what has no such form."""
    import torch

    _load_operators()
    _refuse_unknown(module)
    seen = _watched(module, args, kwargs)
    answers = _answers(module, args, kwargs)
    made = copy.deepcopy(module)
    done: list[str] = []
    for name, part in list(made.named_modules()):
        replacement = part if name.startswith(tuple(done)) else _replaced(part, seen.get(name))
        if replacement is part:
            continue
        if not name:
            return replacement
        parent, _, own = name.rpartition(".")
        setattr(made.get_submodule(parent), own, replacement)
        done.append(f"{name}.")
    for part in [part for part in made.modules() if isinstance(part, torch.fx.GraphModule)]:
        _rewrite(part, answers if part is made else {})
    return made.eval()


def _load_operators() -> None:
    """`quantized_decomposed` is registered by importing it."""
    import importlib

    importlib.import_module("torch.ao.quantization.fx._decomposed")


def _refuse_unknown(module: Any) -> None:
    blockers = [
        Blocker(name, _kind(part), "quantized-module", "it has no form in floats that answers alike", name,
                "static quantization of its layer, or the float module")
        for name, part in module.named_modules() if _kind(part) and _kind(part) not in KNOWN
    ]  # fmt: skip
    if blockers:
        raise Declined("The canonical graph", blockers)


def _watched(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Scheme]:
    """How the parts' answers are quantized, seen in one call."""
    import torch

    seen: dict[str, Scheme] = {}
    hooks = []
    for name, part in module.named_modules():
        if next(part.children(), None) is not None:
            continue

        def note(_: Any, __: Any, answer: Any, name: str = name) -> None:
            if isinstance(answer, torch.Tensor) and answer.is_quantized:
                seen[name] = (answer.q_scale(), answer.q_zero_point(), answer.dtype)

        hooks.append(part.register_forward_hook(note))
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _answers(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Scheme]:
    """How the values of an FX graph are quantized, by the nodes' names."""
    import torch

    if not isinstance(module, torch.fx.GraphModule):
        return {}
    seen: dict[str, Scheme] = {}

    class Recorder(torch.fx.Interpreter):  # type: ignore[misc]  # torch is imported late
        def run_node(self, n: Any) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor) and value.is_quantized:
                seen[n.name] = (value.q_scale(), value.q_zero_point(), value.dtype)
            return value

    with torch.no_grad():
        Recorder(module).run(*args, *kwargs.values())
    return seen


def _rounded(x: Any, scheme: Scheme) -> Any:
    """Quantize, dequantize."""
    import torch

    scale, zero, kind = float(scheme[0]), int(scheme[1]), CODES()[scheme[2]]
    low, high = torch.iinfo(kind).min, torch.iinfo(kind).max
    operators = torch.ops.quantized_decomposed
    codes = operators.quantize_per_tensor.default(x, scale, zero, low, high, kind)
    return operators.dequantize_per_tensor.default(codes, scale, zero, low, high, kind)


def CODES() -> dict[Any, Any]:
    """Quantized types -> their integers."""
    import torch

    return {torch.quint8: torch.uint8, torch.qint8: torch.int8, torch.qint32: torch.int32}


def _scheme(part: Any) -> Scheme:
    """What a module says of its own answers."""
    import torch

    return float(part.scale), int(part.zero_point), getattr(part, "dtype", torch.quint8)


def _replaced(part: Any, seen: Scheme | None) -> Any:
    import torch

    name = _kind(part)
    if name == "QFunctional":
        return _functional(part)
    if name in ("DeQuantize", "Dropout"):
        return torch.nn.Identity()
    if name == "Quantize":
        return _after(_unchanged, _scheme(part))
    if name == "LinearPackedParams":
        return part
    if name in KNOWN:
        return _after(KNOWN[name](part), seen or _scheme(part))
    return part if seen is None or isinstance(part, torch.fx.GraphModule) else _after(part, seen)


def _unchanged(x: Any) -> Any:
    return x


def _after(function: Callable[[Any], Any], scheme: Scheme) -> Any:
    """A module: the function, then rounding."""
    import torch

    class Rounded(torch.nn.Module):  # type: ignore[misc]  # torch is imported late
        def __init__(self) -> None:
            super().__init__()
            self.call: Callable[[Any], Any] = function
            self.scheme = scheme

        def forward(self, x: Any) -> Any:
            return _rounded(self.call(x), self.scheme)

    return Rounded()


def _functional(part: Any) -> Any:
    """The methods of QFunctional on floats."""
    import torch

    scheme = _scheme(part)

    class Functional(torch.nn.Module):  # type: ignore[misc]  # torch is imported late
        def add(self, x: Any, y: Any) -> Any:
            return _rounded(x + y, scheme)

        def add_relu(self, x: Any, y: Any) -> Any:
            return _rounded(torch.relu(x + y), scheme)

        def mul(self, x: Any, y: Any) -> Any:
            return _rounded(x * y, scheme)

        def cat(self, items: Any, dim: int = 0) -> Any:
            return _rounded(torch.cat(items, dim), scheme)

        def matmul(self, x: Any, y: Any) -> Any:
            return _rounded(torch.matmul(x, y), scheme)

        def add_scalar(self, x: Any, y: float) -> Any:
            return x + y

        def mul_scalar(self, x: Any, y: float) -> Any:
            return x * y

    return Functional()


def _weights(weight: Any, bias: Any) -> Any:
    """A module that holds the codes of a packed weight, and gives (weight, bias) in floats."""
    import torch

    class Codes(torch.nn.Module):  # type: ignore[misc]  # torch is imported late
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", weight.int_repr())
            self.bias = None if bias is None else torch.nn.Parameter(bias.detach().clone(), requires_grad=False)
            self.axis = -1
            if weight.qscheme() == torch.per_tensor_affine:
                self.scale, self.zero = weight.q_scale(), weight.q_zero_point()
                return
            self.axis = weight.q_per_channel_axis()
            self.register_buffer("scales", weight.q_per_channel_scales().float())
            self.register_buffer("zeros", weight.q_per_channel_zero_points())

        def forward(self) -> Any:
            operators, kind = torch.ops.quantized_decomposed, self.codes.dtype
            low, high = torch.iinfo(kind).min, torch.iinfo(kind).max
            if self.axis < 0:
                return operators.dequantize_per_tensor.default(self.codes, self.scale, self.zero, low, high, kind), self.bias
            scales = (self.scales, self.zeros)
            return operators.dequantize_per_channel.default(self.codes, *scales, self.axis, low, high, kind), self.bias

    return Codes()


def _weighted(call: Callable[[Any, Any, Any], Any], weight: Any, bias: Any) -> Any:
    """A module that calls an operator with weights of codes."""
    import torch

    class Weighted(torch.nn.Module):  # type: ignore[misc]  # torch is imported late
        def __init__(self) -> None:
            super().__init__()
            self.weights = _weights(weight, bias)

        def forward(self, x: Any) -> Any:
            held, offset = self.weights()
            return call(x, held, offset)

    return Weighted()


def _linear(part: Any) -> Any:
    import torch

    weight, bias = part._weight_bias()
    relu = "ReLU" in _kind(part)

    def call(x: Any, held: Any, offset: Any) -> Any:
        answer = torch.nn.functional.linear(x, held, offset)
        return torch.relu(answer) if relu else answer

    return _weighted(call, weight, bias)


def _conv(part: Any) -> Any:
    import torch

    weight, bias = part._weight_bias()
    relu, rank = "ReLU" in _kind(part), weight.ndim - 2
    operator = getattr(torch.nn.functional, f"conv{rank}d")
    padding, mode = part.padding, part.padding_mode
    around = [int(size) for size in reversed(padding) for _ in range(2)]

    def call(x: Any, held: Any, offset: Any) -> Any:
        if mode != "zeros":
            x = torch.nn.functional.pad(x, around, mode)
        answer = operator(x, held, offset, part.stride, 0 if mode != "zeros" else padding, part.dilation, part.groups)
        return torch.relu(answer) if relu else answer

    return _weighted(call, weight, bias)


def _embedding(part: Any) -> Any:
    import torch

    return _weighted(lambda x, held, _: torch.nn.functional.embedding(x, held), part.weight(), None)


def _plain(call: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A quantized module without weights: the float function, its module's settings at hand."""
    return lambda part: lambda x: call(part, x)


def _functional_of(name: str, *settings: str) -> Callable[[Any], Any]:
    """A function of torch.nn.functional with some of the module's attributes."""
    import torch

    function = getattr(torch.nn.functional, name)
    return _plain(lambda part, x: function(x, *(getattr(part, item) for item in settings)))


def _normalized(part: Any, x: Any) -> Any:
    import torch

    statistics = (part.running_mean, part.running_var, part.weight, part.bias)
    answer = torch.nn.functional.batch_norm(x, *statistics, False, 0.0, part.eps)
    return torch.relu(answer) if "ReLU" in _kind(part) else answer


KNOWN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("Linear", "LinearReLU"), _linear),
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d"), _conv),
    **dict.fromkeys(("BatchNorm2d", "BatchNorm3d", "BNReLU2d", "BNReLU3d"), _plain(_normalized)),
    "ReLU6": lambda part: _functional_of("relu6")(part), "Hardswish": lambda part: _functional_of("hardswish")(part),
    "Sigmoid": lambda part: _functional_of("sigmoid")(part), "ELU": lambda part: _functional_of("elu", "alpha")(part),
    "LeakyReLU": lambda part: _functional_of("leaky_relu", "negative_slope")(part),
    "Softmax": lambda part: _functional_of("softmax", "dim")(part),
    "LayerNorm": lambda part: _functional_of("layer_norm", "normalized_shape", "weight", "bias", "eps")(part),
    "GroupNorm": lambda part: _functional_of("group_norm", "num_groups", "weight", "bias", "eps")(part),
    "Quantize": lambda part: part, "DeQuantize": lambda part: part, "QFunctional": lambda part: part,
    "Dropout": lambda part: part, "LinearPackedParams": lambda part: part,
}  # fmt: skip
"""Quantized modules by their class' name -> the float function."""

ARITHMETIC = {"add": "add", "mul": "mul", "add_relu": "add", "mul_relu": "mul", "cat": "cat", "cat_relu": "cat"}


AVERAGES = ("mean", "adaptive_avg_pool2d", "avg_pool2d", "interpolate", "boolean_dispatch")
"""Functions and methods that give new values on the scale of their input."""


def _rewrite(graph: Any, answers: Mapping[str, Scheme]) -> None:
    """Functions and methods on quantized tensors in an FX graph: in floats, and rounded. Raises Declined."""
    import torch

    blockers: list[Blocker] = []
    for node in list(graph.graph.nodes):
        if node.op == "call_method" and node.target == "dequantize":
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
        elif node.op == "call_function" and node.target is torch.quantize_per_tensor:
            given: list[Any] = [*node.args, *node.kwargs.values()]
            scheme: Scheme = (_value(graph, given[1]), _value(graph, given[2]), given[3])
            _swap(graph, node, (given[0],), _unchanged, scheme)
        elif node.op == "call_function" and getattr(node.target, "__module__", "") == "torch._ops.quantized":
            name = node.target.__name__
            if name not in ARITHMETIC:
                reason = "it has no form in floats that answers alike"
                blockers.append(Blocker(node.name, f"quantized.{name}", "quantized-function", reason))
                continue
            given = [*node.args, *node.kwargs.values()]
            if len(given) == 2:  # with a number: the codes stay, and the scale changes with them
                node.target = _float_function(name)
                continue
            scheme = (_value(graph, given[-2]), _value(graph, given[-1]), torch.quint8)
            _swap(graph, node, tuple(given[:-2]), _float_function(name), scheme)
        elif node.name in answers and (node.target in AVERAGES or getattr(node.target, "__name__", "") in AVERAGES):
            with graph.graph.inserting_after(node):
                new = graph.graph.call_function(_rounded, (node, answers[node.name]))
            node.replace_all_uses_with(new, delete_user_cb=lambda user, new=new: user is not new)
    if blockers:
        raise Declined("The canonical graph", blockers)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _float_function(name: str) -> Callable[..., Any]:
    import torch

    plain: Callable[..., Any] = getattr(torch, ARITHMETIC[name])
    return (lambda *items: torch.relu(plain(*items))) if name.endswith("relu") else plain


def _value(graph: Any, item: Any) -> Any:
    """A number in an FX graph: itself, or an attribute that holds it."""
    if not hasattr(item, "op"):
        return item
    held = graph
    for part in str(item.target).split("."):
        held = getattr(held, part)
    return held.item()


def _swap(graph: Any, node: Any, args: tuple[Any, ...], function: Callable[..., Any], scheme: Scheme) -> None:
    """A node's place is taken by a function and rounding."""

    def call(*items: Any) -> Any:
        return _rounded(function(*items), scheme)

    with graph.graph.inserting_before(node):
        new = graph.graph.call_function(call, args)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
