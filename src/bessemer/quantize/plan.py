"""Which values get encodings, which of them must share one, and what stays float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bessemer.ir.encoding import encoding_of
from bessemer.ir.model import layer_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import constant, is_constant
from bessemer.quantize.precision import Precision, is_called, precision_of
from bessemer.quantize.scheme import ACTIVATED, DATA_ONLY, EIGHT_BITS, FIXED, INTEGER, PRODUCTS, SAME, Scheme

if TYPE_CHECKING:
    import onnx_ir


@dataclass
class Group:
    """Values that share one encoding.

    values: computed ones and graph inputs; constants: operands written in the same integers; sources: the values
    whose statistics set the range (what only moves them adds nothing); fixed: (scale, zero point) that the
    specification states; activations: the type of the integers; ranges: the method that an override states.
    """

    values: list[onnx_ir.Value] = field(default_factory=list)
    constants: list[onnx_ir.Value] = field(default_factory=list)
    sources: list[onnx_ir.Value] = field(default_factory=list)
    fixed: tuple[float, int] | None = None
    activations: str = "INT8"
    ranges: str = ""

    @property
    def bits(self) -> int:
        """Of an integer."""
        return int(self.activations[3:])

    @property
    def symmetric(self) -> bool:
        """Whether the zero point is 0: kernels of 16 bits have no other."""
        return self.activations == "INT16"


@dataclass
class Product:
    """A node whose constant weight becomes integers of type `weights`: `axis` counts its output channels."""

    node: onnx_ir.Node
    weight: onnx_ir.Value
    axis: int
    bias: onnx_ir.Value | None = None
    real: Array | None = None
    """The float weight, once integers have taken its place."""
    weights: str = "INT8"

    @property
    def name(self) -> str:
        """What the report calls it: the original layer, else the node."""
        return layer_of(self.node) or self.node.name or self.weight.name or ""


@dataclass(frozen=True)
class StaysFloat:
    """A node that computes in float, and why."""

    node: onnx_ir.Node
    reason: str


@dataclass
class Plan:
    """What a scheme will do to a graph; nothing is changed yet."""

    scheme: Scheme
    groups: list[Group]
    products: list[Product]
    floats: list[StaysFloat]

    def group_of(self, value: onnx_ir.Value) -> Group | None:
        """The group that holds a value."""
        return next((group for group in self.groups if value in group.values), None)


def make_plan(
    graph: onnx_ir.Graph,
    scheme: Scheme,
    keep: Sequence[str] = (),
    excepted: Mapping[onnx_ir.Node, str] | None = None,
) -> Plan:
    """Plan for the nodes of `graph` (subgraphs stay float).

    keep: globs of node, layer or operator names that stay float; excepted: nodes that do, with the reason.
    """
    reasons = {node: (excepted or {}).get(node) or why_float(node, scheme, keep) for node in graph}
    integer = _connected([node for node, reason in reasons.items() if not reason])
    floats = [
        StaysFloat(node, reasons[node] or "no neighbour computes in integers")
        for node in graph
        if node not in integer and _computes_floats(node)
    ]
    fused = {node.outputs[0] for node in integer if fused_follower(node) is not None}
    biases = {value for node in integer for value in bias_operands(node)}
    return Plan(
        scheme,
        _groups(graph, integer, fused, biases, scheme),
        [product for node in graph if node in integer for product in _product(node, scheme)],
        floats,
    )


def why_float(node: onnx_ir.Node, scheme: Scheme, keep: Sequence[str], asked: Precision | None = None) -> str:
    """Why a node cannot compute in integers (of `asked`, else of what it is marked with); '' when it can."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in INTEGER:
        return f"no integer kernel for {node.op_type}"
    if not all(_is_float32(value) for value in (*data_inputs(node), node.outputs[0])):
        return "its data is not float32"
    pattern = next((glob for glob in keep if is_called(node, glob)), "")
    if pattern:
        return f"kept by '{pattern}'"
    asked = asked or precision_of(node, scheme)
    if asked.activations == "FLOAT":
        return f"kept by '{asked.match}'"
    return _no_kernel(node, asked) or _odd_form(node)


def _no_kernel(node: onnx_ir.Node, asked: Precision) -> str:
    kind, op = asked.activations, node.op_type
    if (op in FIXED and kind not in FIXED[op]) or (op in EIGHT_BITS and kind != "INT8"):
        return f"no integer kernel for {op} with {kind} activations"
    if op in PRODUCTS and kind == "INT16" and asked.weights != "INT8":
        return f"no integer kernel for {op} with INT16 activations and {asked.weights} weights"
    return ""


def _odd_form(node: onnx_ir.Node) -> str:
    attributes = node.attributes
    if node.op_type == "Clip" and any(bound is not None and constant(bound) is None for bound in node.inputs[1:]):
        return "a clip at computed bounds has no integer kernel"
    if node.op_type in ("Conv", "ConvTranspose", "Gemm") and not is_constant(node.inputs[1]):
        return "a computed weight has no integer kernel"
    if node.op_type == "ConvTranspose" and attributes.get_int("group", 1) != 1:
        return "a transposed convolution in groups has no integer kernel"
    if node.op_type == "Elu" and attributes.get_float("alpha", 1.0) != 1:
        return "Elu with another alpha than 1 has no integer kernel"
    if node.op_type in ("Max", "Min") and len(node.inputs) != 2:
        return f"{node.op_type} of other than two operands has no integer kernel"
    if node.op_type == "Resize" and attributes.get_string("mode", "nearest") == "cubic":
        return "cubic resizing has no integer kernel"
    if node.op_type == "Pad" and not _pads_zeros(node):
        return "padding with other values than 0 has no integer kernel"
    if node.op_type == "Gemm" and (
        attributes.get_int("transA", 0) == 1
        or attributes.get_float("alpha", 1.0) != 1
        or attributes.get_float("beta", 1.0) != 1
    ):
        return "a Gemm with transA, alpha or beta has no integer kernel"
    if len(node.outputs) > 1 and node.op_type != "Split":
        return "its further outputs have no integer form"
    return ""


def _pads_zeros(node: onnx_ir.Node) -> bool:
    if node.attributes.get_string("mode", "constant") != "constant":
        return True
    given = node.inputs[2] if len(node.inputs) > 2 else None
    filler = constant(given)
    return given is None or (filler is not None and not filler.any())


def _is_float32(value: onnx_ir.Value | None) -> bool:
    import onnx_ir

    return value is not None and value.dtype == onnx_ir.DataType.FLOAT


def _computes_floats(node: onnx_ir.Node) -> bool:
    return any(_is_float32(value) for value in node.outputs)


def data_inputs(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """The inputs that are data, not shapes, axes or bounds."""
    places = DATA_ONLY.get(node.op_type, range(len(node.inputs)))
    found = (node.inputs[place] for place in places if place < len(node.inputs))
    return [value for value in found if value is not None]


def _connected(candidates: list[onnx_ir.Node]) -> set[onnx_ir.Node]:
    """Products, and every candidate that a chain of candidates joins to one: an island of moves stays float."""
    waiting, integer = set(candidates), {node for node in candidates if node.op_type in PRODUCTS}
    waiting -= integer
    front = list(integer)
    while front:
        node = front.pop()
        for other in neighbours(node):
            if other in waiting:
                waiting.discard(other)
                integer.add(other)
                front.append(other)
    return integer


def neighbours(node: onnx_ir.Node) -> Iterator[onnx_ir.Node]:
    """Who makes a node's data, and who reads its outputs."""
    for value in data_inputs(node):
        maker = value.producer()
        if maker is not None:
            yield maker
    for value in node.outputs:
        yield from value.consumers()


def fused_follower(node: onnx_ir.Node) -> onnx_ir.Node | None:
    """The node that is drawn into `node`: an activation, or the addition of a constant vector to a MatMul.

    The value between is never stored, so it gets no encoding.
    """
    if node.op_type not in ACTIVATED or len(node.outputs) != 1:
        return None
    result = node.outputs[0]
    readers = result.consumers()
    if len(result.uses()) != 1 or result.is_graph_output():
        return None
    follower: onnx_ir.Node = next(iter(readers))
    if follower.graph is not node.graph or follower.domain not in ("", "ai.onnx"):
        return None
    if follower.inputs[0] is result and _is_activation(follower):
        return follower
    return follower if bias_operands(follower) else None


ACTIVATIONS = ((0.0, 6.0), (-1.0, 1.0), (0.0, None))


def _is_activation(node: onnx_ir.Node) -> bool:
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip":
        return False
    bounds = [node.inputs[place] if place < len(node.inputs) else None for place in (1, 2)]
    if any(bound is not None and constant(bound) is None for bound in bounds):
        return False
    arrays = [constant(bound) for bound in bounds]
    return tuple(None if array is None else float(array.reshape(-1)[0]) for array in arrays) in ACTIVATIONS


def bias_operands(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """The constant vector of an Add that is the bias of the MatMul before it, which nothing else reads."""
    if node.op_type != "Add":
        return []
    for product, vector in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        maker = product.producer() if product is not None else None
        if maker is None or maker.op_type != "MatMul" or not is_constant(maker.inputs[1]) or vector is None:
            continue
        alone = product is not None and len(product.uses()) == 1 and not product.is_graph_output()
        if alone and is_constant(vector) and vector.shape is not None and len(vector.shape) == 1:
            return [vector]
    return []


def _product(node: onnx_ir.Node, scheme: Scheme) -> Iterator[Product]:
    if node.op_type not in PRODUCTS:
        return
    weight = node.inputs[1]
    if weight is None or not is_constant(weight) or weight.shape is None or encoding_of(weight) is not None:
        return
    if node.op_type == "MatMul" and len(weight.shape) != 2:
        return  # an operand of a batched product: one scale, as activations have
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    kind = precision_of(node, scheme).weights
    yield Product(node, weight, output_axis(node), bias if is_constant(bias) else None, weights=kind)


def output_axis(node: onnx_ir.Node) -> int:
    """The axis of the weight that counts output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    weight = node.inputs[1]
    return len(weight.shape) - 1 if weight is not None and weight.shape is not None else 1


class _Union:
    """Disjoint sets of values."""

    def __init__(self) -> None:
        self.parent: dict[onnx_ir.Value, onnx_ir.Value] = {}

    def find(self, value: onnx_ir.Value) -> onnx_ir.Value:
        self.parent.setdefault(value, value)
        while self.parent[value] is not value:
            self.parent[value] = self.parent[self.parent[value]]
            value = self.parent[value]
        return value

    def join(self, a: onnx_ir.Value, b: onnx_ir.Value) -> None:
        self.parent[self.find(b)] = self.find(a)


def _groups(
    graph: onnx_ir.Graph,
    integer: set[onnx_ir.Node],
    fused: set[onnx_ir.Value],
    biases: set[onnx_ir.Value],
    scheme: Scheme,
) -> list[Group]:
    """One group for each set of values that integer kernels want in one encoding, in graph order."""
    union, moved, fixed = _Union(), set[Any](), dict[Any, tuple[float, int]]()
    kinds, methods = dict[Any, str](), dict[Any, str]()
    weights = {product.weight for node in integer for product in _product(node, scheme)}
    for node in graph:
        if node not in integer:
            continue
        asked = precision_of(node, scheme)
        read = () if asked.requantizes else data_inputs(node)  # what it reads has an encoding of its maker's
        members = [v for v in (*read, *node.outputs) if v not in fused and v not in biases | weights]
        for value in members:
            union.find(value)
            kinds.setdefault(value, asked.activations)
            if asked.ranges:
                methods[value] = asked.ranges
        if node.op_type in FIXED:
            fixed[node.outputs[0]] = FIXED[node.op_type][asked.activations]
        if node.op_type in SAME and members and not asked.requantizes:
            for value in members[1:]:
                union.join(members[0], value)
            moved.update(node.outputs)
    return _collect(union, moved, fixed, kinds, methods)


def _collect(
    union: _Union,
    moved: set[onnx_ir.Value],
    fixed: dict[onnx_ir.Value, tuple[float, int]],
    kinds: dict[onnx_ir.Value, str],
    methods: dict[onnx_ir.Value, str],
) -> list[Group]:
    groups: dict[onnx_ir.Value, Group] = {}
    for value in union.parent:
        group = groups.setdefault(union.find(value), Group(activations=kinds[value]))
        group.ranges = methods.get(value, group.ranges)
        (group.constants if is_constant(value) else group.values).append(value)
        if value in fixed:
            group.fixed = fixed[value]
        elif value not in moved:
            group.sources.append(value)
    return list(groups.values())
