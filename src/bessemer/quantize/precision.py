"""What each node computes in where a model mixes precisions.

A scheme says what all nodes compute in; overrides (`LayerPrecision`) change that for some. Before anything is observed
every node is marked, operators between 16-bit layers are drawn along, and where kernels of 8 and of 16 bits meet an
Identity is put: the two values at its sides get encodings of their own, so that targets write a requantization there
(TFLite: QUANTIZE; ONNX: the Q/DQ pairs before and behind it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import UsageError
from bessemer.ir.model import layer_of
from bessemer.quantize.ranges import METHODS
from bessemer.quantize.scheme import Scheme

if TYPE_CHECKING:
    import onnx_ir
    from onnx_ir._core import Usage as Use

KEY = "bessemer.precision"
"""In `Node.meta`: the node's `Precision`."""

WEIGHTS = {"int8": "INT8", "int4": "INT4"}
ACTIVATIONS = {"int8": "INT8", "int16": "INT16", "float": "FLOAT"}


@dataclass(frozen=True)
class LayerPrecision:
    """An override: what the nodes that `match` names compute in.

    match: glob of node, layer or operator names; weights: 'int4' | 'int8'; activations: 'int8' | 'int16' | 'float'
    (weights are float then, too); ranges: how those of what the nodes read and make are chosen, see `ranges.METHODS`.
    '' leaves what an earlier override, or else the scheme, says; the last one that states something wins. Raises
    UsageError for a precision that nothing can hold.
    """

    match: str
    weights: str = ""
    activations: str = ""
    ranges: str = ""

    def __post_init__(self) -> None:
        if not self.match:
            raise UsageError("An override names no layer", fix="Say match = 'GLOB'")
        if not self.weights and not self.activations and not self.ranges:
            raise UsageError(f"The override of '{self.match}' changes nothing", fix="Say weights, activations or ranges")
        _known("weights", self.weights, WEIGHTS)
        _known("activations", self.activations, ACTIVATIONS)
        _known("ranges", self.ranges, METHODS)
        if self.activations == "float" and self.weights:
            raise UsageError(
                f"The override of '{self.match}' asks for float activations and {self.weights} weights",
                why="a layer of a static model with float activations is float as a whole",
                fix="Leave weights out",
            )

    def __str__(self) -> str:
        """As `--layer` spells it: GLOB=a16, GLOB=w4, GLOB=a8_w4, GLOB=a8_minmax, GLOB=float."""
        wide = self.activations if self.activations == "float" else f"a{self.activations[3:]}"
        parts = [wide] * bool(self.activations) + [f"w{self.weights[3:]}"] * bool(self.weights)
        return f"{self.match}={'_'.join([*parts, *[self.ranges] * bool(self.ranges)])}"

    @classmethod
    def parse(cls, text: str) -> LayerPrecision:
        """The way back from `str`. Raises UsageError that shows the grammar."""
        match, equals, kind = text.rpartition("=")
        said: dict[str, str] = {}
        for part in kind.split("_") if equals else [""]:
            key = "ranges" if part in METHODS else {"a": "activations", "w": "weights", "f": "activations"}.get(part[:1], "")
            if not key or key in said:
                raise UsageError(
                    f"'{text}' is no override of a layer's precision",
                    fix="Write GLOB=a8_w4, GLOB=a16_w8, GLOB=w4, GLOB=a16, GLOB=minmax or GLOB=float",
                )
            said[key] = part if part in METHODS or part == "float" else f"int{part[1:]}"
        return cls(match, **said)


def parsed(texts: Iterable[str]) -> tuple[LayerPrecision, ...]:
    """Overrides as `--layer` spells them."""
    return tuple(map(LayerPrecision.parse, texts))


def _known(what: str, given: str, known: Iterable[str]) -> None:
    if given and given not in known:
        near = get_close_matches(given, list(known), n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"No layer has {what} by '{given}'", fix=f"{hint}Choose one of {', '.join(known)}")


@dataclass(frozen=True)
class Precision:
    """What one node computes in: ONNX type names, activations 'FLOAT' where it stays float.

    match: the override that named its activations ('' none); requantizes: an Identity between two encodings;
    ranges: how those of its data are chosen ('' as everywhere).
    """

    activations: str
    weights: str
    match: str = ""
    requantizes: bool = False
    ranges: str = ""


def precision_of(node: onnx_ir.Node, scheme: Scheme) -> Precision:
    """What a node was marked with, else what the scheme says."""
    found = node.meta.get(KEY)
    return found if isinstance(found, Precision) else Precision(scheme.activations, scheme.weights)


def is_called(node: onnx_ir.Node, glob: str) -> bool:
    """Whether a glob names the node, one of its original layers, or its operator."""
    names = (node.name or "", node.op_type, *layer_of(node).split(";"))
    return any(fnmatchcase(name, glob) for name in names if name)


def mark(graph: onnx_ir.Graph, scheme: Scheme, layers: Sequence[LayerPrecision]) -> None:
    """Note at every node what the overrides make of it. Raises UsageError for one that names nothing."""
    for item in layers:
        if not any(is_called(node, item.match) for node in graph):
            raise _names_nothing(graph, item)
    for node in graph if layers else ():
        found = Precision(scheme.activations, scheme.weights)
        for item in layers:
            if is_called(node, item.match):
                found = _overridden(found, item)
        node.meta[KEY] = found


def _overridden(found: Precision, item: LayerPrecision) -> Precision:
    if item.weights:
        found = replace(found, weights=WEIGHTS[item.weights])
    if item.ranges:
        found = replace(found, ranges=item.ranges)
    if item.activations:
        found = replace(found, activations=ACTIVATIONS[item.activations], match=item.match)
    return found


def _names_nothing(graph: onnx_ir.Graph, item: LayerPrecision) -> UsageError:
    names = [name for node in graph for name in (node.name, node.op_type, *layer_of(node).split(";")) if name]
    near = get_close_matches(item.match, list(dict.fromkeys(names)), n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return UsageError(
        f"The override of '{item.match}' names no node, layer or operator of the model",
        fix=f"{hint}`bessemer analyze` lists the layers",
    )


def carry(source: onnx_ir.Node, made: Sequence[onnx_ir.Node]) -> None:
    """Nodes that take another's place compute in what it did."""
    found = source.meta.get(KEY)
    for node in made if found is not None else ():
        node.meta[KEY] = found


def settle_precisions(graph: onnx_ir.Graph, scheme: Scheme, keep: Sequence[str]) -> int:
    """Make a marked float graph one that integer kernels can compute, in place; the number of requantizations.

    What is drawn into a product computes in the product's precision; what stands between 16-bit layers alone does as
    they do; weights that layers of several precisions share are given to each; Identities stand where 8 and 16 bits
    meet.
    """
    if not any(KEY in node.meta for node in graph):
        return 0
    _follow(graph, scheme)
    _flow(graph, scheme, keep)
    _part_weights(graph, scheme)
    return sum(_requantize(graph, node, scheme, keep) for node in list(graph)) + _requantize_inputs(
        graph, scheme, keep
    )


def _follow(graph: onnx_ir.Graph, scheme: Scheme) -> None:
    from bessemer.quantize.plan import fused_follower

    for node in graph:
        follower = fused_follower(node)
        while follower is not None:
            follower.meta[KEY] = precision_of(node, scheme)
            follower = fused_follower(follower)


def _flow(graph: onnx_ir.Graph, scheme: Scheme, keep: Sequence[str]) -> None:
    """Operators without weights that no override names, and whose every integer neighbour has 16 bits, have them too."""
    from bessemer.quantize.plan import neighbours, why_float
    from bessemer.quantize.scheme import INTEGER, PRODUCTS

    if scheme.activations == "INT16":
        return
    wide = Precision("INT16", scheme.weights)
    drawn = {
        node
        for node in graph
        if node.op_type in INTEGER - PRODUCTS and not precision_of(node, scheme).match
        and not why_float(node, scheme, keep, wide)
    }  # fmt: skip
    fixed = {
        node: precision_of(node, scheme).activations for node in graph if node not in drawn and node.op_type in INTEGER
    }
    changed = True
    while changed:
        left = {node for node in drawn if all(fixed.get(other) != "INT8" for other in neighbours(node))}
        changed = left != drawn
        fixed.update(dict.fromkeys(drawn - left, "INT8"))
        drawn = left
    front = [node for node, kind in fixed.items() if kind == "INT16"]
    while front:
        for other in neighbours(front.pop()):
            if other in drawn:
                drawn.discard(other)
                other.meta[KEY] = wide
                front.append(other)


def _part_weights(graph: onnx_ir.Graph, scheme: Scheme) -> None:
    """A weight that is to be held in two precisions becomes two weights."""
    from bessemer.passes.rewrite import is_constant
    from bessemer.quantize.assign import own
    from bessemer.quantize.scheme import PRODUCTS

    for node in graph:
        weight = node.inputs[1] if node.op_type in PRODUCTS else None
        if weight is None or not is_constant(weight):
            continue
        kinds = {precision_of(user, scheme).weights for user in weight.consumers()}
        if len(kinds) > 1:
            own(graph, weight, node, 1)


def _requantize(graph: onnx_ir.Graph, node: onnx_ir.Node, scheme: Scheme, keep: Sequence[str]) -> int:
    """Identities behind a node for readers of another precision."""
    kind = _integer_kind(node, scheme, keep)
    return sum(_part(graph, value, kind, scheme, keep, node) for value in node.outputs)


def _requantize_inputs(graph: onnx_ir.Graph, scheme: Scheme, keep: Sequence[str]) -> int:
    return sum(_part(graph, value, "", scheme, keep, None) for value in graph.inputs)


def _integer_kind(node: onnx_ir.Node, scheme: Scheme, keep: Sequence[str]) -> str:
    """The type of the integers that a node computes in; '' where it is float."""
    from bessemer.quantize.plan import why_float

    return "" if why_float(node, scheme, keep) else precision_of(node, scheme).activations


def _part(
    graph: onnx_ir.Graph,
    value: onnx_ir.Value,
    kind: str,
    scheme: Scheme,
    keep: Sequence[str],
    maker: onnx_ir.Node | None,
) -> int:
    """kind: what `value` is made in; where nobody makes it in integers, the widest that a reader wants."""
    readers = dict[str, list[Any]]()
    for use in _data_uses(value):
        if use.node.graph is graph:
            readers.setdefault(_integer_kind(use.node, scheme, keep), []).append(use)
    readers.pop("", None)
    kind = kind or max(readers, key=lambda name: int(name[3:]), default="")
    for other in sorted(set(readers) - {kind}):
        _insert(graph, value, other, readers[other], scheme, maker)
    return len(set(readers) - {kind})


def _data_uses(value: onnx_ir.Value) -> Iterator[Use]:
    from bessemer.quantize.plan import data_inputs

    return (use for use in value.uses() if value in data_inputs(use.node))


def _insert(
    graph: onnx_ir.Graph,
    value: onnx_ir.Value,
    kind: str,
    uses: Sequence[Use],
    scheme: Scheme,
    maker: onnx_ir.Node | None,
) -> None:
    import onnx_ir

    from bessemer.ir.model import tag

    name = f"{value.name}/{kind.lower()}"
    node = onnx_ir.node("Identity", [value], name=name)
    node.meta[KEY] = Precision(kind, scheme.weights, requantizes=True)
    tag(node, *layer_of(uses[0].node).split(";"))
    made = node.outputs[0]
    made.name, made.type, made.shape = name, value.type, value.shape
    first = next(iter(graph))
    graph.insert_after(maker, node) if maker is not None else graph.insert_before(first, node)
    for use in uses:
        use.node.replace_input_with(use.idx, made)
