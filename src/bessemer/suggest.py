"""Where to cut a model that a target declines: the largest part that it takes, and a detection head's raw outputs.

The real graph is asked, with the real blockers: parts that no blocked node belongs to are formed, the one with the most
multiply-accumulates is really prepared for the target, and only what was taken is suggested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bessemer.ir.canonical import LAYER_KEY, TENSOR_KEY
from bessemer.ir.errors import BessemerError, Blocker, Declined
from bessemer.ir.model import Model
from bessemer.ir.unread import UNREAD, unread
from bessemer.passes.cut import Described, cut
from bessemer.passes.named import Names, inner_graphs, operands
from bessemer.passes.stats import node_macs
from bessemer.verify import evidence as ev

if TYPE_CHECKING:
    import onnx_ir

ROUNDS = 4
"""How often new blockers of a part may make it smaller."""
WORTH = 0.05
"""Share of the nodes or of the multiply-accumulates below which a part is not worth a word."""
SUPPRESSING = (
    "BatchedNMS", "CombinedNonMaxSuppression", "DetectionPostProcess", "EfficientNMS", "NonMaxSuppression", "NMS",
    "TFLite_Detection_PostProcess",
)  # fmt: skip
"""Operators (beginnings of their names) that choose among boxes: what lies before is a detection head."""
PRODUCTS = frozenset(
    {"Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
)
HEAD = frozenset(
    {"Cast", "Clip", "Concat", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Relu", "Reshape", "Sigmoid",
     "Softmax", "Squeeze", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""What still belongs to a head behind its last products: scores are squashed and the scales' answers joined."""

Prepare = Callable[[Model], None]
"""Ask the target for a model as it was read; raises Declined."""


def suggestions(model: Model, prepare: Prepare, described: Described | None = None) -> list[ev.Suggestion]:
    """Cuts of `model` that `prepare` accepts, the best first; none where no part is worth it.

    model: as it was read, with stand-ins for what was not (`ir.unread`); it is not changed. described: see `passes.cut`.
    """
    probe = _Probe(model, prepare, described)
    found = [probe.most_work(), probe.most_nodes(), probe.head()]
    kept = [item for item in found if item is not None]
    places = [(item.inputs, item.outputs) for item in kept]
    return [item for number, item in enumerate(kept) if places.index(places[number]) == number]


@dataclass(frozen=True)
class _Part:
    """Nodes by number, and the borders around them."""

    members: frozenset[int]
    inputs: tuple[onnx_ir.Value, ...]
    outputs: tuple[onnx_ir.Value, ...]
    """Both by order in the graph; inputs empty where only the model's own are read."""


class _Probe:
    """One model whose nodes are numbered by layer names of their own, so that blockers say where they come from."""

    def __init__(self, model: Model, prepare: Prepare, described: Described | None) -> None:
        self.described = described
        self.model = Model(model.graph.clone(), model.origin, list(model.notes), model.past, model.cut)
        self.graph = self.model.graph.graph
        self.nodes = list(self.graph)
        self.place = {node: number for number, node in enumerate(self.nodes)}
        self.prepare = prepare
        for number, node in enumerate(self.nodes):
            for inner in (node, *(item for graph in inner_graphs(node) for item in graph.all_nodes())):
                inner.metadata_props[LAYER_KEY] = f"@{number}"
        self.keyed = any(TENSOR_KEY in value.meta for node in self.nodes for value in node.outputs)
        self.names = Names(self.graph)
        self.blocked = {self.place[node] for node in self.nodes if _stands_in(node)}
        if not self.blocked:
            self._ask(self.model)

    def most_work(self) -> ev.Suggestion | None:
        """The part with the most multiply-accumulates that the target takes."""
        return self._largest(self._weight, "the largest part that converts")

    def most_nodes(self) -> ev.Suggestion | None:
        """The part with the most nodes: behind a front end that transforms signals, the network itself."""
        return self._largest(lambda part: (len(part.members), *self._weight(part)), "the part of most nodes that converts")

    def _largest(self, weight: Callable[[_Part], tuple[int, ...]], why: str) -> ev.Suggestion | None:
        """The heaviest part that the target takes; each refusal teaches where the blockers are."""
        for _ in range(ROUNDS):
            known = set(self.blocked)
            for part in sorted(self._parts(), key=weight, reverse=True)[:3]:
                if not self._worth(part):
                    break
                if self._taken(part):
                    return self._suggestion(part, why)
            if known == self.blocked:
                return None
        return None

    def head(self) -> ev.Suggestion | None:
        """Raw outputs of a detection head, where boxes are chosen at the model's end."""
        chosen = {n for n in range(len(self.nodes)) if self.nodes[n].op_type.startswith(SUPPRESSING)} & self.dynamic
        if not chosen or not self.blocked:
            return None
        products = {n for n in self.dynamic if self.nodes[n].op_type in PRODUCTS}
        kept = self._upwards(products)
        for number in sorted(self.dynamic - kept):  # in the order of the graph: what is read stands before
            if self.nodes[number].op_type in HEAD and set(self.before[number]) & self.dynamic <= kept:
                kept.add(number)
        part = self._bordered(kept - self.blocked)
        if part is None or kept & (self.blocked | chosen) or not self._taken(part):
            return None
        return self._suggestion(part, "the detection head's raw outputs, before boxes are decoded and chosen")

    # -- the graph -----------------------------------------------------------------------------------------------

    @cached_property
    def before(self) -> list[tuple[int, ...]]:
        """For each node the nodes that it reads."""
        made = {value: number for number, node in enumerate(self.nodes) for value in node.outputs}
        return [tuple({made[value] for value in operands(node) if value in made}) for node in self.nodes]

    @cached_property
    def dynamic(self) -> set[int]:
        """Nodes that depend on the model's inputs."""
        fed = {value for value in self.graph.inputs if value.name not in self.graph.initializers}
        found: set[int] = set()
        for number, node in enumerate(self.nodes):
            if any(item in found for item in self.before[number]) or any(value in fed for value in operands(node)):
                found.add(number)
        return found

    @cached_property
    def macs(self) -> list[int]:
        """Multiply-accumulates of each node; 0 where unknown."""
        return [node_macs(node) or 0 for node in self.nodes]

    def _upwards(self, numbers: Iterable[int]) -> set[int]:
        """These nodes and all that they depend on."""
        pending, found = list(numbers), set[int]()
        while pending:
            number = pending.pop()
            if number not in found:
                found.add(number)
                pending.extend(self.before[number])
        return found

    def _parts(self) -> Iterator[_Part]:
        """Before all blockers, behind all, and between them: nodes that depend on the same blockers."""
        order = {number: bit for bit, number in enumerate(sorted(self.blocked))}
        over: list[int] = []
        for number in range(len(self.nodes)):
            bits = 0
            for item in self.before[number]:
                bits |= over[item] | (1 << order[item] if item in order else 0)
            over.append(bits)
        free = self.dynamic - self.blocked
        behind = free - self._upwards(self.blocked)
        groups: dict[int, set[int]] = {}
        for number in free:
            groups.setdefault(over[number], set()).add(number)
        regions = [*groups.values(), behind]
        seen: set[frozenset[int]] = set()
        for region in regions:
            part = self._bordered(region) if region else None
            if part is not None and part.members not in seen:
                seen.add(part.members)
                yield part

    def _bordered(self, region: set[int]) -> _Part | None:
        """The part with borders that have names; None where there are none."""
        made = {value for number in region for value in self.nodes[number].outputs}
        inside = {self.nodes[number] for number in region}
        read = {value for node in self.nodes if node not in inside for value in operands(node)} | set(self.graph.outputs)
        ends = self._named(value for number in sorted(region) for value in self.nodes[number].outputs if value in read)
        needed = (value for number in sorted(region) for value in operands(self.nodes[number]) if value not in made)
        starts = self._named(value for value in needed if self._flows(value))
        ends = [value for value in ends if value.producer() is not None and value not in starts]
        if not ends or len(ends) > 64:
            return None
        inner = any(value.producer() is not None for value in starts)
        return _Part(frozenset(region), tuple(starts) if inner else (), tuple(ends))

    def _flows(self, value: onnx_ir.Value) -> bool:
        """Whether a value is computed from the inputs, or one of them."""
        node = value.producer()
        if node is None:
            return value in self.graph.inputs and value.name not in self.graph.initializers
        return self.place.get(node) in self.dynamic

    def _named(self, values: Iterable[onnx_ir.Value]) -> list[onnx_ir.Value]:
        """These values, or where the original has no name for one, the values that it was made from."""
        found: dict[onnx_ir.Value, None] = {}
        pending = list(values)[::-1]
        seen = set(pending)
        while pending:
            value = pending.pop()
            node = value.producer()
            if node is None or not self.keyed or TENSOR_KEY in value.meta:
                found[value] = None
                continue
            more = [item for item in operands(node) if self._flows(item) and item not in seen]
            seen.update(more)
            pending.extend(more)
        return list(found)

    # -- asking --------------------------------------------------------------------------------------------------

    def _taken(self, part: _Part) -> bool:
        """Whether the target takes the part; what blocks it there is remembered."""
        inputs, outputs = ([self.names.shown(value) for value in side] for side in (part.inputs, part.outputs))
        try:
            return self._ask(cut(self.model, inputs, outputs, None, self.described))
        except Declined:
            return False
        except BessemerError:  # a shape or a type that nobody knows: no place to cut
            return False

    def _ask(self, model: Model) -> bool:
        stands = {self.place_of(node) for node in unread(model.graph.graph)}
        if stands:
            self.blocked |= {number for number in stands if number is not None}
            return False
        try:
            self.prepare(Model(model.graph.clone(), model.origin, list(model.notes), model.past, model.cut))
        except Declined as refusal:
            self.blocked |= {number for blocker in refusal.blockers for number in self._nodes_of(blocker)}
            return False
        return True

    def place_of(self, node: onnx_ir.Node) -> int | None:
        """The number that a node carries."""
        marks = _marks(node.metadata_props.get(LAYER_KEY, ""))
        return marks[0] if marks else None

    def _nodes_of(self, blocker: Blocker) -> Iterator[int]:
        """Nodes that a blocker speaks of: by number, by name, or around the border that it names."""
        marks = _marks(blocker.layer) or _marks(blocker.node)
        yield from marks
        if marks or not blocker.node:
            return
        for number, node in enumerate(self.nodes):
            named = blocker.node in (node.name, *(value.name for value in node.outputs))
            fed = blocker.op == "Input" and blocker.node in (value.name for value in node.inputs if value is not None)
            if named or fed:
                yield number

    def _weight(self, part: _Part) -> tuple[int, int, bool]:
        return sum(self.macs[number] for number in part.members), len(part.members), not part.inputs

    def _worth(self, part: _Part) -> bool:
        macs = sum(self.macs)
        weight, count, _ = self._weight(part)
        return count >= WORTH * len(self.dynamic) or (macs > 0 and weight >= WORTH * macs)

    def _suggestion(self, part: _Part, why: str) -> ev.Suggestion:
        macs = sum(self.macs)
        names = [[self.names.shown(value) for value in side] for side in (part.inputs, part.outputs)]
        if not part.inputs and self.model.cut is not None:
            names[0] = [tap.name for tap in self.model.cut.taps.inputs]
        members = self._upwards_within(part)
        return ev.Suggestion(
            inputs=names[0],
            outputs=names[1],
            nodes=len(members),
            of=len(self.dynamic),
            macs=sum(self.macs[number] for number in members) / macs if macs else None,
            why=why,
        )

    def _upwards_within(self, part: _Part) -> set[int]:
        """Nodes of the part that its named outputs really need."""
        made = {value: number for number, node in enumerate(self.nodes) for value in node.outputs}
        stops = set(part.inputs)
        pending: list[onnx_ir.Value] = list(part.outputs)
        found: set[int] = set()
        while pending:
            value = pending.pop()
            number = made.get(value)
            if value in stops or number is None or number in found:
                continue
            found.add(number)
            pending.extend(operands(self.nodes[number]))
        return found & self.dynamic


def _stands_in(node: onnx_ir.Node) -> bool:
    """Whether a node, or one in its branches, stands for what was not read."""
    inner = (item for graph in inner_graphs(node) for item in graph.all_nodes())
    return any(item.domain == UNREAD for item in (node, *inner))


def _marks(layer: str) -> Sequence[int]:
    """Numbers in a layer's name."""
    return [int(name[1:]) for name in layer.split(";") if name[:1] == "@" and name[1:].isdecimal()]
