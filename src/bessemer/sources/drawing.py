"""A canonical graph being drawn by a source: nodes and constants that grow, and tensors known in several axis orders.

`Drawing` grows nodes, constants and blockers. `Ordered` is a tensor of the original, in the original's own axis order;
`Canvas` knows for each the canonical values that hold it and in which order each of them stands (`ir.layout`):
convolutions draw their results channels-first, elementwise operators pass an order along, reshapes ask for the tensor's
own order. A Transpose is drawn only where an order is asked for that nobody made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import DOMAIN, OPSET
from bessemer.ir.canonical import TENSOR_KEY as TENSOR_KEY
from bessemer.ir.encoding import Encoding, encoding_of, set_encoding
from bessemer.ir.errors import Blocker
from bessemer.ir.layout import apply, compose, identity, inverse, is_identity, moves_data
from bessemer.ir.model import tag
from bessemer.ir.types import Array, Perm, Shape
from bessemer.ir.unread import BLOCKER_KEY, UNREAD

if TYPE_CHECKING:
    import onnx_ir

MOVES = ("Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose results hold elements of their first operand, and so have its encoding until the file says more."""


class Unsupported(Exception):
    """Raised while an operator or a layer is read: the reason why it has no meaning in the hub.

    results: shape and ONNX type of each result, where they are known all the same: what reads them can then be read, and
    a cut may begin there.
    """

    def __init__(self, rule: str, reason: str, rewrite: str = "", results: Sequence[tuple[Shape, Any]] = ()) -> None:
        super().__init__(reason)
        self.rule, self.reason, self.rewrite, self.results = rule, reason, rewrite, tuple(results)


class Drawing:
    """Nodes, constants and blockers of one graph. `layer`: the original layer whose nodes are being drawn.

    outer: the drawing around a branch or a loop's body; they share their names and blockers.
    """

    def __init__(self, notes: list[str], outer: Drawing | None = None) -> None:
        self.notes = notes
        self.nodes: list[onnx_ir.Node] = []
        self.initializers: list[onnx_ir.Value] = []
        self.blockers: list[Blocker] = [] if outer is None else outer.blockers
        self.layer: str = "" if outer is None else outer.layer
        self._names: set[str] = set() if outer is None else outer._names

    def unique(self, name: str) -> str:
        """A value name that nobody has yet."""
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate

    def literal(self, constant: Array | np.generic, name: str = "const") -> onnx_ir.Value:
        """A new constant."""
        import onnx_ir

        return self.hold(onnx_ir.tensor(np.asarray(constant)), name)

    def hold(self, tensor: onnx_ir.TensorProtocol, name: str) -> onnx_ir.Value:
        """A new constant for a tensor that may be read later."""
        import onnx_ir

        tensor.name = self.unique(name)
        shape = onnx_ir.Shape(tensor.shape.numpy())
        value = onnx_ir.Value(name=tensor.name, shape=shape, type=onnx_ir.TensorType(tensor.dtype))
        value.const_value = tensor
        self.initializers.append(value)
        return value

    def emit(
        self,
        op: str,
        inputs: Sequence[onnx_ir.Value | None],
        *,
        shape: Sequence[int | str | None] | None = None,
        dtype: Any = None,
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """A node of the current layer; returns its value (or values). dtype None: that of the first input."""
        import onnx_ir

        kind = dtype if dtype is not None else next((value.dtype for value in inputs if value is not None), None)
        made = [onnx_ir.Value(name=self.unique(f"{self.layer}/{op}")) for _ in range(outputs)]
        for value in made:
            value.type = None if kind is None else onnx_ir.TensorType(kind)
            if shape is not None and outputs == 1:
                value.shape = onnx_ir.Shape(list(shape))
            if op in MOVES:
                set_encoding(value, _kept(inputs[0]))
        kept = {key: item for key, item in attributes.items() if item is not None}
        node = onnx_ir.node(op, list(inputs), attributes=kept, outputs=made, domain=domain)
        node.name = made[0].name
        tag(node, self.layer)
        self.nodes.append(node)
        return made[0] if outputs == 1 else made

    def reshaped(self, value: onnx_ir.Value, shape: Sequence[int | str | None]) -> onnx_ir.Value:
        """Reshape to `shape`; at most one dim may be no integer (it takes the rest)."""
        if sum(not isinstance(dim, int) for dim in shape) > 1:
            raise Unsupported("dynamic-shape", f"a reshape to {list(shape)} has more than one unbound dim")
        target = np.array([dim if isinstance(dim, int) else -1 for dim in shape], np.int64)
        made: onnx_ir.Value = self.emit("Reshape", [value, self.literal(target, "shape")], shape=shape)
        return made

    def block(self, op: str, problem: Unsupported) -> None:
        """Remember why an operator cannot be read; reading goes on."""
        self.blockers.append(
            Blocker(self.layer, op, problem.rule, problem.reason, layer=self.layer, rewrite=problem.rewrite)
        )

    def stand_in(
        self,
        op: str,
        problem: Unsupported,
        inputs: Sequence[onnx_ir.Value],
        outputs: int = 1,
        because: Sequence[Blocker] = (),
    ) -> list[onnx_ir.Value]:
        """Remember why an operator cannot be read, and draw a node of the domain UNREAD in its place (`ir.unread`).

        Later operators are judged too, and what does not depend on it can be cut out: a source that met any raises
        `Unread` with the whole graph. because: blockers told already that `problem` only follows from; it is not told then.
        """
        if not because:
            self.block(op, problem)
        made = self.emit(op, inputs, outputs=outputs, domain=UNREAD)
        values: list[onnx_ir.Value] = [made] if outputs == 1 else made
        for value in values:
            value.type = None
        node = values[0].producer()
        if node is not None:
            node.meta[BLOCKER_KEY] = tuple(because) or (self.blockers[-1],)
        return values

    def graph(self, inputs: Sequence[onnx_ir.Value], outputs: Sequence[onnx_ir.Value], name: str) -> onnx_ir.Graph:
        """What was drawn, between these borders."""
        import onnx_ir

        own = {node.domain for node in self.nodes} & {DOMAIN, UNREAD}
        return onnx_ir.Graph(
            inputs, outputs, nodes=self.nodes, initializers=self.initializers,
            opset_imports={"": OPSET} | dict.fromkeys(sorted(own), 1), name=name,
        )  # fmt: skip

    def body(self, inputs: Sequence[onnx_ir.Value], outputs: Sequence[onnx_ir.Value]) -> onnx_ir.Graph:
        """What was drawn, as a branch or a loop's body: every output is made inside."""
        import onnx_ir

        made = [self.emit("Identity", [value]) for value in outputs]
        for value, source in zip(made, outputs, strict=True):
            value.shape = source.shape
        return onnx_ir.Graph(inputs, made, nodes=self.nodes, initializers=self.initializers, name=self.layer)


class Ordered:
    """A tensor of the original: `shape` in the original's own axis order, and the values that hold it.

    known: its elements, where they are constant (own order). made: the axis order in which it was drawn first.
    dims: of an integer vector that is not constant, the elements known all the same (symbols of unbound dims among them).
    """

    def __init__(self, name: str, shape: Shape, dtype: Any, known: Array | None = None) -> None:
        self.name, self.shape, self.dtype, self.known = name, shape, dtype, known
        self.made: Perm = identity(len(shape))
        self.orders: dict[Perm, onnx_ir.Value] = {}
        self.dims: Shape | None = None

    def __repr__(self) -> str:
        return f"Ordered({self.name!r}, {self.shape}, {self.dtype}, made={self.made})"

    def draw(self, canvas: Canvas, wanted: Perm) -> None:
        """Called when a value is asked for (in the axis order `wanted`) and there is none in any.

        A tensor that is drawn late draws itself into `orders`, in an order of its own choice, which it notes in `made`.
        """
        raise Unsupported("no-value", f"tensor '{self.name}' is read before anything makes it")

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def static(self) -> tuple[int, ...]:
        """Dims, all bound; raises Unsupported where one is not."""
        bound = tuple(dim for dim in self.shape if isinstance(dim, int))
        if len(bound) != len(self.shape):
            raise Unsupported("dynamic-shape", f"tensor '{self.name}' has unbound dims {list(self.shape)}")
        return bound


class Canvas(Drawing):
    """A drawing that keeps an axis order per tensor."""

    def input(self, name: str, shape: Shape, dtype: Any) -> Ordered:
        """A graph input in the original's own order; unbound dims (None) get names of their own."""
        import onnx_ir

        dims = tuple(f"{name}_{place}" if dim is None else dim for place, dim in enumerate(shape))
        value = onnx_ir.Value(
            name=self.unique(name), shape=onnx_ir.Shape(list(dims)), type=onnx_ir.TensorType(onnx_ir.DataType(dtype))
        )
        value.meta[TENSOR_KEY] = (name, identity(len(dims)))
        return self._registered(Ordered(name, dims, value.dtype), value, identity(len(dims)))

    def constant(self, array: Array, name: str = "const") -> Ordered:
        """A constant tensor; a value is drawn only when one is asked for. `array` may be memory-mapped."""
        import onnx_ir

        held = np.asarray(array)
        return Ordered(name, tuple(held.shape), onnx_ir.DataType.from_numpy(held.dtype), held)

    def result(self, value: onnx_ir.Value, shape: Shape, perm: Perm | None = None, name: str = "") -> Ordered:
        """Say that `value` is a tensor of `shape` (the original's order), standing in axis order `perm`.

        name: what the original calls it; the value is named so. Its type is the value's.
        """
        import onnx_ir

        order = identity(len(shape)) if perm is None else perm
        taken = value.is_initializer() or value.is_graph_input() or TENSOR_KEY in value.meta
        if taken or value.producer() is None:
            value = self.emit("Identity", [value])
        if name:
            value.name = self.unique(name)
        value.meta[TENSOR_KEY] = (name or value.name, order)
        value.shape = onnx_ir.Shape(list(apply(order, shape)))
        return self._registered(Ordered(name or str(value.name), tuple(shape), value.dtype), value, order)

    def unread(
        self, op: str, problem: Unsupported, inputs: Sequence[Ordered], outputs: Sequence[tuple[str, Shape, Any]]
    ) -> list[Ordered]:
        """`stand_in` for an operator of the original; outputs: name, shape and ONNX type of each (None: unknown)."""
        import onnx_ir

        operands = [self.at(tensor) for tensor in inputs if tensor.orders or tensor.known is not None]
        values = self.stand_in(op, problem, operands, len(outputs))
        for value, (_, _, dtype) in zip(values, outputs, strict=True):
            value.type = None if dtype is None else onnx_ir.TensorType(dtype)
        said = zip(values, outputs, strict=True)
        return [self.result(value, shape, name=name) for value, (name, shape, _) in said]

    def renamed(self, tensor: Ordered, perm: Perm) -> Ordered:
        """transpose(tensor, perm) of the original: no data moves, the values serve under other orders."""
        if tensor.known is not None:
            return self.constant(tensor.known.transpose(perm), tensor.name)
        if not tensor.orders:
            tensor.draw(self, tensor.made)
        moved = Ordered(tensor.name, apply(perm, tensor.shape), tensor.dtype)
        moved.orders = {compose(inverse(perm), order): value for order, value in tensor.orders.items()}
        moved.made = compose(inverse(perm), tensor.made)
        return moved

    def at(self, tensor: Ordered, perm: Perm | None = None) -> onnx_ir.Value:
        """The tensor as a value in axis order `perm` (None: its own)."""
        wanted = identity(tensor.rank) if perm is None else perm
        if tensor.known is None and not tensor.orders:
            tensor.draw(self, wanted)
        if wanted in tensor.orders:
            return tensor.orders[wanted]
        if tensor.known is not None:
            suffix = "" if is_identity(wanted) else "_" + "".join(map(str, wanted))
            made = self.literal(tensor.known.transpose(wanted), tensor.name + suffix)
        else:
            made = self._moved(tensor, wanted)
        tensor.orders[wanted] = made
        return made

    def _moved(self, tensor: Ordered, wanted: Perm) -> onnx_ir.Value:
        """A Transpose, or where only axes of size one move a Reshape."""
        step = compose(inverse(tensor.made), wanted)
        source, shape = tensor.orders[tensor.made], apply(wanted, tensor.shape)
        unbound = sum(not isinstance(dim, int) for dim in shape)
        if unbound <= 1 and 0 not in shape and not moves_data(step, apply(tensor.made, tensor.shape)):
            return self.reshaped(_unshaped(source), shape)
        made: onnx_ir.Value = self.emit("Transpose", [source], perm=list(step), shape=shape)
        return made

    def contiguous(self, tensor: Ordered) -> onnx_ir.Value:
        """A value whose elements stand in the tensor's own order, whatever its axes are called."""
        if tensor.orders and not moves_data(tensor.made, tensor.shape):
            return tensor.orders[tensor.made]
        return self.at(tensor)

    def together(self, tensors: Sequence[Ordered]) -> tuple[list[onnx_ir.Value], Perm]:
        """Operands of an elementwise operator in one common axis order, and that order.

        The order is that of the first operand of full rank that was made in another than its own; operands of lower
        rank get leading axes of size one (numpy's broadcasting).
        """
        rank = max(tensor.rank for tensor in tensors)
        full = [tensor.made for tensor in tensors if tensor.rank == rank and tensor.known is None]
        order = next((perm for perm in full if not is_identity(perm)), identity(rank))
        return [self._raised(tensor, rank, order) for tensor in tensors], order

    def _raised(self, tensor: Ordered, rank: int, order: Perm) -> onnx_ir.Value:
        if tensor.rank == rank:
            return self.at(tensor, order)
        if is_identity(order) or tensor.rank == 0:
            return self.at(tensor)
        shape: Shape = (1,) * (rank - tensor.rank) + tensor.shape
        if tensor.known is not None:
            array = tensor.known.reshape([1] * (rank - tensor.rank) + list(tensor.known.shape))
            return self.literal(array.transpose(order), tensor.name)
        lead = self.literal(np.arange(rank - tensor.rank), "axes")
        raised = self.emit("Unsqueeze", [self.at(tensor), lead], shape=shape)
        made: onnx_ir.Value = self.emit("Transpose", [raised], perm=list(order), shape=apply(order, shape))
        return made

    @staticmethod
    def _registered(tensor: Ordered, value: onnx_ir.Value, perm: Perm) -> Ordered:
        tensor.made = perm
        tensor.orders[perm] = value
        return tensor


def _unshaped(value: onnx_ir.Value) -> onnx_ir.Value:
    """What a value was reshaped from: the same elements in the same order."""
    node = value.producer()
    while node is not None and node.op_type == "Reshape" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _kept(value: onnx_ir.Value | None) -> Encoding | None:
    """The encoding that data moved about still has; per channel it would depend on where the axis went."""
    held = encoding_of(value)
    return held if held is not None and held.per_tensor else None
