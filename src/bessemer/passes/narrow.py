"""float32 graphs in float16 or bfloat16; what has no narrow form stays float32 between Casts."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bessemer.ir.encoding import encoding_of
from bessemer.ir.model import layer_of
from bessemer.passes.base import PassResult

if TYPE_CHECKING:
    import onnx_ir

CHUNK = 1 << 20
"""Elements of a weight looked at together."""

SENSITIVE = frozenset(
    [
        "Softmax",
        "LogSoftmax",
        "LayerNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "RMSNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
        "ReduceMean",
        "ReduceSum",
        "ReduceSumSquare",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceProd",
        "Exp",
        "Log",
        "Pow",
        "Sqrt",
        "Reciprocal",
        "CumSum",
        "SoftmaxCrossEntropyLoss",
    ]
)
"""Operators that `mixed` keeps in float32: they sum, divide or raise to powers."""

FOLLOWERS = frozenset(["Add", "Sub", "Mul", "Div"])
"""`mixed` carries float32 through these from a kept operator on: 1/sqrt(variance) leaves float16's range."""

TYPED_BY_ATTRIBUTE = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "Bernoulli": "dtype"}


@dataclass(frozen=True)
class NarrowFloats:
    """Before: every value typed. After: float32 values are `dtype`, except around kept nodes.

    keep: globs of node or layer names that stay float32; sensitive: keep `SENSITIVE` operators too;
    keep_io: graph inputs and outputs stay float32. `declined` says what stays float32 for which reason.
    """

    dtype: Literal["float16", "bfloat16"] = "float16"
    keep: tuple[str, ...] = ()
    sensitive: bool = False
    keep_io: bool = True
    name: ClassVar[str] = "narrow-floats"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """Rewrite in place."""
        work = _Narrowing(self, graph)
        work.convert()
        return PassResult(work.changed, tuple(work.remarks()))


@dataclass
class _Census:
    """Constants beyond the type's range, and non-zero ones that become zero."""

    overflow: set[str] = field(default_factory=set)
    vanished: int = 0
    kept: dict[str, list[str]] = field(default_factory=dict)


class _Narrowing:
    """One run of the pass over the main graph (nodes with subgraphs stay float32 as a whole)."""

    def __init__(self, options: NarrowFloats, model: onnx_ir.Model) -> None:
        import onnx_ir

        self.options, self.graph = options, model.graph
        self.opset = model.graph.opset_imports.get("", 1)
        self.wide = onnx_ir.DataType.FLOAT
        self.narrow = onnx_ir.DataType.FLOAT16 if options.dtype == "float16" else onnx_ir.DataType.BFLOAT16
        self.census = _Census()
        self.changed = 0
        self._casts: dict[tuple[int, int], onnx_ir.Value] = {}
        self.sensitive: set[int] = set()
        self._ranges: dict[int, bool] = {}
        self._floats = {id(value): value for value in self._all_values() if _is_tensor_of(value, self.wide)}

    def _all_values(self) -> list[onnx_ir.Value]:
        made = [value for node in self.graph for value in node.outputs]
        return [*self.graph.inputs, *self.graph.initializers.values(), *made]

    def convert(self) -> None:
        """Borders, then nodes in order, then outputs, then what subgraphs capture."""
        if not self.options.keep_io:
            for value in self.graph.inputs:
                self._retype(value)
        for node in list(self.graph):
            plan = _slots(node, self)
            if plan is None:
                self._feed(node, dict.fromkeys(range(len(node.inputs)), self.wide))
                continue
            inputs, outputs = plan
            self._feed(node, inputs)
            for index in outputs:
                self._retype(node.outputs[index])
            _retype_attributes(node, self)
            self.changed += 1
        for index, value in enumerate(list(self.graph.outputs)):
            self._finish(index, value)
        self._feed_subgraphs()
        self._drop_idle_casts()
        self._drop_unused_weights()

    def is_float(self, value: onnx_ir.Value | None) -> bool:
        """Whether `value` was float32 before this pass."""
        return value is not None and id(value) in self._floats

    def _retype(self, value: onnx_ir.Value) -> None:
        import onnx_ir

        if self.is_float(value):
            value.type = onnx_ir.TensorType(self.narrow)

    def _feed(self, node: onnx_ir.Node, wanted: dict[int, onnx_ir.DataType]) -> None:
        for index, kind in wanted.items():
            value = node.inputs[index]
            if value is not None and self.is_float(value) and value.dtype != kind:
                node.replace_input_with(index, self.as_type(value, kind))

    def as_type(self, value: onnx_ir.Value, kind: onnx_ir.DataType) -> onnx_ir.Value:
        """`value` in another type: a converted constant, or one Cast shared by all who ask."""
        key = (id(value), int(kind))
        if key not in self._casts:
            made = self._constant(value, kind) if value.is_initializer() else self._cast(value, kind)
            self._casts[key] = made
        return self._casts[key]

    def _constant(self, value: onnx_ir.Value, kind: onnx_ir.DataType) -> onnx_ir.Value:
        import onnx_ir

        tensor = value.const_value
        name = f"{value.name}_{kind.name.lower()}"
        shape = onnx_ir.Shape(tensor.shape.numpy() if tensor is not None else ())
        lazy = onnx_ir.LazyTensor(
            lambda: onnx_ir.Tensor(_narrowed(tensor, kind), dtype=kind),
            dtype=kind,
            shape=shape,
            cache=False,
            name=name,
        )
        made = onnx_ir.Value(name=name, shape=lazy.shape, type=onnx_ir.TensorType(kind), const_value=lazy)
        self.graph.register_initializer(made)
        return made

    def _cast(self, value: onnx_ir.Value, kind: onnx_ir.DataType) -> onnx_ir.Value:
        import onnx_ir

        name = f"{value.name}_{kind.name.lower()}"
        node = onnx_ir.node("Cast", [value], {"to": int(kind)}, name=f"{name}_cast")
        made = node.outputs[0]
        made.name, made.shape, made.type = name, value.shape, onnx_ir.TensorType(kind)
        maker = value.producer()
        if maker is not None:
            self.graph.insert_after(maker, node)
        else:
            self.graph.insert_before(next(iter(self.graph)), node)
        return made

    def fits(self, value: onnx_ir.Value) -> bool:
        """Whether a constant survives the narrow type: no overflow, not all of it zero."""
        if id(value) not in self._ranges:
            self._ranges[id(value)] = self._survey(value)
        return self._ranges[id(value)]

    def _survey(self, value: onnx_ir.Value) -> bool:
        if value.const_value is None:
            return True
        flat = np.asarray(value.const_value.numpy()).reshape(-1)
        limit = 65504.0 if self.options.dtype == "float16" else 3.3895313892515355e38
        vanished = held = 0
        for start in range(0, flat.size, CHUNK):
            part = np.abs(flat[start : start + CHUNK])
            if np.any((part > limit) & np.isfinite(part)):
                self.census.overflow.add(value.name or "")
                return False
            held += int(np.count_nonzero(part))
            vanished += int(np.count_nonzero((part > 0) & (part.astype(self.narrow.numpy()) == 0)))
        if held and vanished == held:
            return False  # an epsilon: without it a division by zero waits
        self.census.vanished += vanished
        return True

    def _finish(self, index: int, value: onnx_ir.Value) -> None:
        """A graph output keeps its name and gets the type that was promised."""
        if not self.is_float(value) or value.producer() is None:
            return
        kind = self.wide if self.options.keep_io else self.narrow
        if value.dtype == kind:
            return
        made = self.as_type(value, kind)
        name = value.name
        self.graph.outputs[index] = made
        value.name, made.name = f"{name}_{value.dtype.name.lower()}" if value.dtype else None, name

    def _feed_subgraphs(self) -> None:
        for value in list(self._floats.values()):
            if value.dtype != self.narrow:
                continue
            inner = [use for use in value.uses() if use.node.graph is not self.graph]
            for use in inner:
                use.node.replace_input_with(use.idx, self.as_type(value, self.wide))

    def _drop_idle_casts(self) -> None:
        for node in list(self.graph):
            source = node.inputs[0] if node.op_type == "Cast" and node.domain == "" else None
            if source is None or source.dtype is None or node.outputs[0].is_graph_output():
                continue
            if int(source.dtype) == node.attributes.get_int("to", 0):
                node.outputs[0].replace_all_uses_with(source)
                self.graph.remove(node, safe=True)

    def _drop_unused_weights(self) -> None:
        for name, value in list(self.graph.initializers.items()):
            if self.is_float(value) and not value.uses() and not value.is_graph_output():
                del self.graph.initializers[name]

    def keep(self, node: onnx_ir.Node, reason: str) -> None:
        """Remember why a node stays float32."""
        self.census.kept.setdefault(reason, []).append(node.name or node.op_type)

    def remarks(self) -> list[str]:
        """One sentence per reason."""
        lines = [
            f"{len(names)} nodes stay float32: {reason}{_some(names)}"
            for reason, names in self.census.kept.items()
        ]
        if self.census.vanished:
            lines.append(f"{self.census.vanished} non-zero weights become 0 in {self.options.dtype}")
        return lines


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _narrowed(tensor: Any, kind: onnx_ir.DataType) -> Any:
    return np.asarray(tensor.numpy()).astype(kind.numpy())


def _is_tensor_of(value: onnx_ir.Value, kind: onnx_ir.DataType) -> bool:
    import onnx_ir

    return value.dtype == kind and isinstance(value.type, onnx_ir.TensorType)


Plan = tuple[dict[int, Any], list[int]]


def _slots(node: onnx_ir.Node, work: _Narrowing) -> Plan | None:
    """Which inputs take which type and which outputs become narrow; None: the node stays float32 as it is."""
    touched = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if not any(work.is_float(value) for value in touched):
        return {}, []
    reason = _why_kept(node, work, touched)
    if reason:
        work.keep(node, reason)
        return None
    schema = _schema(node, work.opset)
    plan = None if schema is None else _plan(node, schema, work)
    if plan is None or not (plan[1] or any(kind == work.narrow for kind in plan[0].values())):
        work.keep(node, f"its operator has no {work.options.dtype} form")
        return None
    return plan


def _why_kept(node: onnx_ir.Node, work: _Narrowing, touched: list[onnx_ir.Value]) -> str:
    import onnx_ir

    options = work.options
    if any(fnmatchcase(name, glob) for name in (node.name or "", layer_of(node)) for glob in options.keep):
        return "asked for by keep"
    if options.sensitive and (node.op_type in SENSITIVE or _follows(node, work)):
        work.sensitive.update(map(id, node.outputs))
        return "mixed keeps sums, powers and normalisations"
    if any(
        attribute.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    ):
        return "it holds a subgraph"
    if any(encoding_of(value) is not None for value in touched) or "QuantizeLinear" in node.op_type:
        return "it is quantized"
    if any(not isinstance(value.type, onnx_ir.TensorType) or value.dtype is None for value in touched):
        return "a type of it is unknown or no tensor"
    weights = [value for value in touched if value.is_initializer() and work.is_float(value)]
    fitting = [work.fits(value) for value in weights]  # every one is counted
    if not all(fitting):
        return f"a constant lies beyond the range of {options.dtype}"
    return ""


def _follows(node: onnx_ir.Node, work: _Narrowing) -> bool:
    return node.op_type in FOLLOWERS and any(id(value) in work.sensitive for value in node.inputs)


def _schema(node: onnx_ir.Node, opset: int) -> Any:
    import onnx

    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, ""):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _plan(node: onnx_ir.Node, schema: Any, work: _Narrowing) -> Plan | None:
    allowed = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
    want = f"tensor({work.options.dtype})"
    inputs: dict[int, Any] = {}
    bound: set[str] = set()
    for index, value in enumerate(node.inputs):
        if value is None or not work.is_float(value):
            continue
        variable = _formal(schema.inputs, index)
        narrow = want in allowed.get(variable, ())
        inputs[index] = work.narrow if narrow else work.wide
        if narrow:
            bound.add(variable)
    outputs: list[int] = []
    for index, value in enumerate(node.outputs):
        if not work.is_float(value):
            continue
        variable = _formal(schema.outputs, index)
        if variable in bound or (_typed_by_attribute(node) and want in allowed.get(variable, ())):
            outputs.append(index)
        elif want in allowed.get(variable, ()):
            return None  # nothing here says how the type is chosen
    return inputs, outputs


def _formal(parameters: Any, index: int) -> str:
    """The type variable of a position; a variadic last parameter repeats."""
    return str(parameters[min(index, len(parameters) - 1)].type_str) if len(parameters) else ""


def _typed_by_attribute(node: onnx_ir.Node) -> bool:
    return node.op_type in TYPED_BY_ATTRIBUTE or node.op_type == "ConstantOfShape"


def _retype_attributes(node: onnx_ir.Node, work: _Narrowing) -> None:
    """Attributes that state float32 state the narrow type."""
    import onnx_ir

    if not any(work.is_float(value) for value in node.outputs):
        return
    key = TYPED_BY_ATTRIBUTE.get(node.op_type)
    if key is not None:
        node.attributes[key] = onnx_ir.AttrInt64(key, int(work.narrow))
    elif node.op_type in ("EyeLike", "RandomNormalLike", "RandomUniformLike") and "dtype" in node.attributes:
        node.attributes["dtype"] = onnx_ir.AttrInt64("dtype", int(work.narrow))
    elif node.op_type == "ConstantOfShape":
        held = node.attributes.get("value")
        array = np.zeros(1, np.float32) if held is None else held.as_tensor().numpy()
        tensor = onnx_ir.Tensor(array.astype(work.narrow.numpy()), dtype=work.narrow)
        node.attributes["value"] = onnx_ir.AttrTensor("value", tensor)
