"""Work out how models are joined: every wire is found or refused with the candidates named, then written down as a plan."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bessemer.ir.errors import UsageError
from bessemer.ir.layout import apply, channels_first, channels_last, identity
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.sources.base import OpenOptions
from bessemer.sources.join import records as r
from bessemer.workspace import fingerprint

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.ir.model import Model

ORDERS = ("same", "nchw", "nhwc")
"""What `order=` takes beside numbers: nothing moves, channels last to first, channels first to last."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Member:
    """One model to be joined."""

    label: str
    path: Path
    format: str
    signature: Signature
    last: bool
    """Whether its format keeps channels last."""
    unranked: frozenset[str] = frozenset()
    """Borders whose number of axes nobody knows."""
    scales: Mapping[str, r.Scale] = field(default_factory=dict)
    """What the integers of borders stand for."""


@dataclass(frozen=True)
class End:
    """A border of a member."""

    member: Member
    spec: TensorSpec
    kind: Literal["input", "output"]

    def __str__(self) -> str:
        return f"{self.member.label}:{self.spec}"

    @property
    def ranked(self) -> bool:
        """Whether its number of axes is known."""
        return self.spec.name not in self.member.unranked

    @property
    def place(self) -> r.Place:
        """For the plan."""
        return r.Place(model=self.member.label, tensor=self.spec.name)


@dataclass(frozen=True)
class Wish:
    """One `--map` as typed: `B:input=A:output`, then `order=` and `cast`."""

    to: End
    source: End
    order: str = ""
    how: Literal["", "cast", "real"] = ""


def plan(members: Sequence[Member], maps: Sequence[str], *, share: bool, home: Path, signature: str | None = None) -> r.Plan:
    """The whole join, spelled out. home: the folder where the plan will lie.

    With neither `maps` nor `share` each model is fed by the one before it: by names, else by the only assignment that
    types and shapes allow. Raises UsageError that names the candidates where there is none, or more than one.
    """
    if len(members) < 2:
        raise UsageError("There is nothing to join", fix="Name two models or more")
    wishes = [_wish(text, members) for text in maps]
    if not wishes and not share:
        wishes = [wish for before, after in _pairs(members) for wish in _found(before, after)]
    wires = [_wire(wish) for wish in wishes]
    _refuse_twice(wires)
    if share:
        wires += _shared(members, wires)
    return r.Plan(
        bessemer_join=1,
        models=tuple(_member(item, home, signature) for item in members),
        wires=tuple(sorted(wires, key=lambda wire: [item.label for item in members].index(wire.to.model))),
        inputs=_inputs(members, wires),
        outputs=_outputs(members, wires),
    )


def members_of(models: Sequence[str], options: OpenOptions) -> list[Member]:
    """The models as typed: a path, or LABEL=path. Labels are the files' names where nothing else was said."""
    from bessemer.opening import open_model
    from bessemer.passes.shapes import InferShapes
    from bessemer.sources.sniff import all_sources, identify

    last = {entry.name for entry in all_sources() if entry.channels_last}
    found: list[Member] = []
    for text in models:
        label, path = _labelled(text)
        entry = identify(path)
        model = open_model(path, replace(options, shapes={}, inputs=(), outputs=()))
        if model.past is not None and model.past.stage == "quantize":
            raise UsageError(f"{path} was quantized as a whole and cannot be joined", fix="Join the originals")
        InferShapes().run(model.graph)
        borders = (*model.graph.graph.inputs, *model.graph.graph.outputs)
        unranked = frozenset(str(value.name) for value in borders if value.shape is None)
        label = _fresh(label, {item.label for item in found})
        channels_last = model.origin.format in last
        found.append(Member(label, path, entry.name, model.signature, channels_last, unranked, _scales(model)))
    return found


def _scales(model: Model) -> dict[str, r.Scale]:
    """What the integers of borders stand for, where one scale stands beside them."""
    found: dict[str, r.Scale] = {}
    for value in model.graph.graph.outputs:
        node = value.producer()
        if node is not None and node.op_type == "QuantizeLinear":
            found |= _scale(value, node)
    for value in model.graph.graph.inputs:
        for node, place in value.uses():
            if node.op_type == "DequantizeLinear" and place == 0:
                found |= _scale(value, node)
    return found


def _scale(value: onnx_ir.Value, node: onnx_ir.Node) -> dict[str, r.Scale]:
    held = [None if item is None or item.const_value is None else item.const_value.numpy() for item in node.inputs[1:3]]
    if len(held) != 2 or any(item is None or item.size != 1 for item in held) or value.dtype is None:
        return {}
    kind = value.dtype.name.lower()
    if kind not in ("int8", "uint8", "int16", "uint16"):
        return {}
    scale, zero = (item.reshape(-1)[0] for item in held if item is not None)
    return {str(value.name): r.Scale.model_validate({"scale": float(scale), "zero_point": int(zero), "dtype": kind})}


def _labelled(text: str) -> tuple[str, Path]:
    label, mark, rest = text.partition("=")
    if mark and re.fullmatch(r"[A-Za-z_]\w*", label) and not Path(text).exists():
        return label, Path(rest)
    path = Path(text)
    return re.sub(r"\W+", "_", path.name.partition(".")[0]) or "model", path


def _fresh(label: str, taken: set[str]) -> str:
    candidate, count = label, 1
    while candidate in taken:
        count += 1
        candidate = f"{label}_{count}"
    return candidate


def _pairs(members: Sequence[Member]) -> Iterator[tuple[Sequence[Member], Member]]:
    for place in range(1, len(members)):
        yield members[:place], members[place]


# -- what was typed ----------------------------------------------------------------------------------------------


def _wish(text: str, members: Sequence[Member]) -> Wish:
    body, order, how = _options(text)
    for match in re.finditer("=", body):
        to, source = body[: match.start()].strip(), body[match.end() :].strip()
        left = _end(to, members, ("input",))
        right = _end(source, members, ("output", "input"))
        if left is not None and right is not None:
            _check_order(left, right, members, text)
            return Wish(left, right, order, how)
    raise UsageError(
        f"--map {text} names no input and no output of these models",
        why="it is spelled B:input=A:output, the label being a file's name without its suffix, or A, B, C by position",
        fix=f"There are: {_listed(members)}",
    )


def _options(text: str) -> tuple[str, str, Literal["", "cast", "real"]]:
    """The mapping itself, its order, and how a type may change."""
    body, order = text, ""
    how: Literal["", "cast", "real"] = ""
    while True:
        head, mark, tail = body.rpartition(",")
        said = tail.strip()
        if mark and said in ("cast", "real"):
            how = "cast" if said == "cast" else "real"
        elif mark and said.startswith("order="):
            order = said.removeprefix("order=")
        else:
            return body, order, how
        body = head


def _end(text: str, members: Sequence[Member], kinds: Sequence[Literal["input", "output"]]) -> End | None:
    for place, member in enumerate(members):
        labels = (member.label, *(LETTERS[place] if place < len(LETTERS) else ()))
        names = [text[len(label) + 1 :] for label in labels if text.startswith((f"{label}:", f"{label}."))]
        for kind in kinds:
            for spec in getattr(member.signature, f"{kind}s"):
                if spec.name in names:
                    return End(member, spec, kind)
    return None


def _check_order(to: End, source: End, members: Sequence[Member], text: str) -> None:
    if members.index(source.member) >= members.index(to.member):
        raise UsageError(
            f"--map {text}: '{source.member.label}' does not stand before '{to.member.label}'",
            fix="Name the models in the order in which they run",
        )


def _listed(members: Sequence[Member]) -> str:
    said = []
    for member in members:
        inputs, outputs = (", ".join(map(str, side)) for side in (member.signature.inputs, member.signature.outputs))
        said.append(f"{member.label} takes {inputs}; gives {outputs}")
    return ". ".join(said)


# -- what is found -----------------------------------------------------------------------------------------------


def _found(before: Sequence[Member], after: Member) -> list[Wish]:
    """What feeds `after`: outputs of the same names of any earlier member, else of the last one by type and shape."""
    inputs = [End(after, spec, "input") for spec in after.signature.inputs]
    outputs = [End(member, spec, "output") for member in reversed(before) for spec in member.signature.outputs]
    named = [(end, next((item for item in outputs if item.spec.name == end.spec.name), None)) for end in inputs]
    wishes = [Wish(end, source) for end, source in named if source is not None]
    if wishes:
        return wishes
    own = [item for item in outputs if item.member is before[-1]]
    ways = list(_assignments(inputs, own))
    if len(ways) == 1:
        return [Wish(end, source) for end, source in zip(inputs, ways[0], strict=True)]
    said = "no assignment of outputs to inputs fits" if not ways else f"{len(ways)} assignments fit" + (
        ", or more" if len(ways) == MOST else "")  # fmt: skip
    first = inputs[0].spec.name if inputs else "INPUT"
    raise UsageError(
        f"'{before[-1].label}' and '{after.label}' cannot be joined by themselves",
        why=f"no names agree, and by types and shapes {said}. Outputs: {', '.join(map(str, own))}. "
        f"Inputs: {', '.join(map(str, inputs))}",
        fix=f"Say what feeds what: --map {after.label}:{first}={before[-1].label}:OUTPUT"
        " (with ,order=nchw or ,cast where they differ), or --share for models side by side",
    )


MOST = 8
"""Assignments that are looked for before it is clear that there are several."""


def _assignments(inputs: Sequence[End], outputs: Sequence[End]) -> Iterator[tuple[End, ...]]:
    """Ways to feed every input from an output of its own."""
    found = 0
    pending: list[tuple[End, ...]] = [()]
    while pending and found < MOST and inputs:
        taken = pending.pop()
        if len(taken) == len(inputs):
            found += 1
            yield taken
            continue
        end = inputs[len(taken)]
        fitting = (item for item in outputs if item not in taken and item.spec.dtype == end.spec.dtype and item.ranked)
        pending += [(*taken, item) for item in fitting if end.ranked and _orders(item.spec, end.spec)]


def _orders(source: TensorSpec, target: TensorSpec) -> list[tuple[int, ...]]:
    """Axis orders in which the source fits the target, the unmoved first."""
    rank = len(target.shape)
    if len(source.shape) != rank:
        return []
    orders = dict.fromkeys((identity(rank), channels_first(rank), channels_last(rank)))
    return [order for order in orders if all(map(_alike, apply(order, source.shape), target.shape))]


def _alike(mine: int | str | None, theirs: int | str | None) -> bool:
    return mine == theirs or not isinstance(mine, int) or not isinstance(theirs, int)


def _wire(wish: Wish) -> r.Wire:
    """One wire with its axis order and type settled. Raises UsageError where they cannot be."""
    source, to = wish.source, wish.to
    changes = _converted(wish)
    order = _chosen(wish)
    changes["output" if source.kind == "output" else "shared"] = source.place
    return r.Wire(to=to.place, order=None if order == identity(len(order)) else order, **changes)


def _converted(wish: Wish) -> dict[str, Any]:
    """How values get from one type to the other. Raises UsageError where nobody said, or nothing is to be said."""
    source, to = wish.source, wish.to
    same = source.spec.dtype == to.spec.dtype
    mine, theirs = source.member.scales.get(source.spec.name), to.member.scales.get(to.spec.name)
    if same and (mine is None or theirs is None or mine == theirs):
        if wish.how:
            what = f"--map {_spelled(wish)},{wish.how}: {source} is of the right type as it is"
            raise UsageError(what, fix="Leave it out")
        return {}
    real = _as_reals(wish, mine, theirs)
    if wish.how == "real" and not real:
        raise UsageError(f"{to} cannot take what {source} means", why="neither is an integer border with one scale")
    if wish.how == "real":
        return real
    if wish.how == "cast" and {source.spec.dtype, to.spec.dtype} <= set(r.CASTS):
        return {} if same else {"cast": to.spec.dtype}
    types = f"their types differ: {source.spec.dtype} and {to.spec.dtype}"
    why = "their integers stand for different reals" if same else types
    ways = f",real for what the integers stand for, or --map {_spelled(wish)},cast for themselves" if real else ",cast"
    raise UsageError(f"{to} cannot take {source}", why=why, fix=f"Convert the values with --map {_spelled(wish)}{ways}")


def _as_reals(wish: Wish, mine: r.Scale | None, theirs: r.Scale | None) -> dict[str, Any]:
    """Fields of the wire that carry reals; none where a side holds neither reals nor integers with a scale."""
    source, to = wish.source.spec.dtype, wish.to.spec.dtype
    if not (mine is not None or source.startswith("float")) or not (theirs is not None or to.startswith("float")):
        return {}
    found: dict[str, Any] = {"dequantize": mine, "quantize": theirs}
    if mine is None and theirs is None:
        return {}
    arrives = theirs.dtype if theirs is not None else "float32"
    return found if arrives == to else {**found, "cast": to}


def _chosen(wish: Wish) -> tuple[int, ...]:
    source, to = wish.source.spec, wish.to.spec
    rank = len(to.shape)
    if not (wish.source.ranked and wish.to.ranked) and wish.order in ("", "same"):
        return ()  # nothing to compare, and nothing is moved
    if wish.order:
        order = _said(wish, rank)
        if len(source.shape) != rank or not all(map(_alike, apply(order, source.shape), to.shape)):
            raise UsageError(f"--map {_spelled(wish)},order={wish.order}: {wish.source} does not fit {wish.to} so")
        return order
    fitting = _orders(source, to)
    if not fitting:
        raise UsageError(
            f"{wish.to} cannot take {wish.source}", why="their shapes differ, in any order of the channels",
            fix="Cut or convert one of them first, or bind its shape",
        )  # fmt: skip
    moved = [order for order in fitting if order != identity(rank)]
    customs = wish.source.member.last != wish.to.member.last and rank >= 3
    if len(fitting) > 1 and (fitting[0] != identity(rank) or (customs and moved)):
        raise UsageError(
            f"{wish.source} fits {wish.to} in more than one order of its axes",
            why="one model keeps channels last, the other first, and the sizes do not tell",
            fix=f"Say which: --map {_spelled(wish)},order=same or order=nchw (last to first) or order=nhwc",
        )
    return fitting[0]


def _said(wish: Wish, rank: int) -> tuple[int, ...]:
    named = {"same": identity(rank), "nchw": channels_first(rank), "nhwc": channels_last(rank)}
    if wish.order in named:
        return named[wish.order]
    parts = wish.order.split(":")
    order = tuple(int(part) for part in parts if part.isdecimal())
    if sorted(order) != list(range(rank)) or len(parts) != rank:
        raise UsageError(
            f"order={wish.order} is no order of {rank} axes", fix=f"Say one of {', '.join(ORDERS)}, or numbers: 0:3:1:2"
        )
    return order


def _spelled(wish: Wish) -> str:
    return f"{wish.to.member.label}:{wish.to.spec.name}={wish.source.member.label}:{wish.source.spec.name}"


def _refuse_twice(wires: Sequence[r.Wire]) -> None:
    counts = Counter((wire.to.model, wire.to.tensor) for wire in wires)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"--map feeds {':'.join(twice)} twice", fix="Name each input once")


def _shared(members: Sequence[Member], wires: Sequence[r.Wire]) -> list[r.Wire]:
    """Inputs of one name are one input; each further one reads the first. Raises UsageError where none are alike."""
    fed = {(wire.to.model, wire.to.tensor) for wire in wires}
    first: dict[str, End] = {}
    found: list[r.Wire] = []
    for member in members:
        for spec in member.signature.inputs:
            end = End(member, spec, "input")
            if (member.label, spec.name) in fed:
                continue
            if spec.name in first:
                found.append(_wire(Wish(end, first[spec.name])))
            else:
                first[spec.name] = end
    if not found and not wires:
        raise UsageError(
            "--share finds no two inputs of one name", why=_listed(members),
            fix=f"Say which are one: --map {members[1].label}:INPUT={members[0].label}:INPUT",
        )  # fmt: skip
    return found


# -- the plan ----------------------------------------------------------------------------------------------------


def _member(item: Member, home: Path, signature: str | None) -> r.Member:
    size, digest = fingerprint(item.path)
    path = Path(os.path.relpath(item.path.resolve(), home.resolve())).as_posix()
    return r.Member(label=item.label, path=path, format=item.format, bytes=size, sha256=digest, signature=signature)


def _inputs(members: Sequence[Member], wires: Sequence[r.Wire]) -> tuple[r.Border, ...]:
    """What no wire feeds, under its own name where that is free."""
    fed = {(wire.to.model, wire.to.tensor) for wire in wires}
    ends = [End(item, spec, "input") for item in members for spec in item.signature.inputs
            if (item.label, spec.name) not in fed]  # fmt: skip
    return _named(ends, set())


def _outputs(members: Sequence[Member], wires: Sequence[r.Wire]) -> tuple[r.Border, ...]:
    """What no wire reads."""
    read = {(wire.output.model, wire.output.tensor) for wire in wires if wire.output is not None}
    ends = [End(item, spec, "output") for item in members for spec in item.signature.outputs
            if (item.label, spec.name) not in read]  # fmt: skip
    if not ends:
        raise UsageError("Every output is read by another model: nothing would come out of the join")
    return _named(ends, {border.name for border in _inputs(members, wires)})


def _named(ends: Sequence[End], taken: set[str]) -> tuple[r.Border, ...]:
    counts = Counter(end.spec.name for end in ends)
    borders = []
    for end in ends:
        name = end.spec.name
        name = name if counts[name] == 1 and name not in taken else f"{end.member.label}/{name}"
        borders.append(r.Border(name=name, place=end.place))
    return tuple(borders)


def described(made: r.Plan) -> list[str]:
    """One line for each wire, for people."""
    lines = []
    for wire in made.wires:
        order = "" if wire.order is None else f", axes {':'.join(map(str, wire.order))}"
        cast = ", as the reals that the integers mean" if wire.dequantize else ", as integers" if wire.quantize else ""
        cast += f", cast to {wire.cast}" if wire.cast else ""
        kind = "" if wire.output is not None else "input "
        source = wire.source
        lines.append(f"{wire.to.model}:{wire.to.tensor} = {kind}{source.model}:{source.tensor}{order}{cast}")
    return lines


def written(made: r.Plan, path: Path) -> Mapping[str, object]:
    """Write the plan, replacing an older one; returns it as data."""
    data = made.model_dump_json(indent=1, exclude_defaults=False)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(data + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"The plan cannot be written to {path}", why=str(error)) from None
    return made.model_dump(mode="json")
