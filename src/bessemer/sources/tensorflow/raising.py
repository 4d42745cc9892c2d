"""Control flow of the first version raised to functions: frames become While nodes, Switch and Merge become If nodes.

A loop variable is Enter -> Merge <- NextIteration, Merge -> Switch, whose first result leaves by Exit and whose second one
goes through the body (Abadi et al. 2016, 3.4). A Merge outside of frames joins two ways that one predicate's Switches
opened. Inner loops and branches are raised before those around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bessemer.runners.tensorflow.program import Body, split_ref
from bessemer.sources.drawing import Unsupported
from bessemer.wire.savedmodel.node import Node

ENTER, EXIT = ("Enter", "RefEnter"), ("Exit", "RefExit")
MERGE, SWITCH = ("Merge", "RefMerge"), ("Switch", "RefSwitch")
NEXT = ("NextIteration", "RefNextIteration")


def raised(body: Body) -> tuple[Body, list[Body]]:
    """The body without those operators, and the functions that its new nodes call. Raises Unsupported."""
    if not any(node.op in (*ENTER, *MERGE) for node in body.nodes.values()):
        return body, []
    work = _Raising(body)
    while work.frames():
        work.loop(work.innermost())
    for node in work.body().order():
        if node.op in MERGE:
            work.branch(node.name)
    return work.body(), work.made


@dataclass(frozen=True)
class _Variable:
    """A loop variable by its nodes; switch and exit are '' where nothing reads them."""

    enter: Node
    merge: str
    after: Node
    switch: str


class _Raising:
    """The nodes of a body while they change."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.nodes: dict[str, Node] = dict(body.nodes)
        self.returns = list(body.returns)
        self.made: list[Body] = []

    def body(self) -> Body:
        """What they are now."""
        return replace(self._body, nodes=self.nodes, returns=tuple(self.returns))

    def frames(self) -> dict[str, list[Node]]:
        """Enter nodes by frame."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            if node.op in ENTER:
                found.setdefault(str(node.attrs.get("frame_name")), []).append(node)
        return found

    def innermost(self) -> str:
        """A frame without another one inside: nothing that its loop needs leaves a frame."""
        for name, enters in self.frames().items():
            variables = self._variables(enters)
            wanted = [ref for item in variables for ref in item.after.inputs]
            wanted += [ref for item in variables if item.switch for ref in self.nodes[item.switch].inputs[1:]]
            stops = {node.name for node in enters}
            if not any(self.nodes[held].op in EXIT for held in self._behind(wanted, stops)):
                return name
        raise Unsupported("control-flow", "its loops are entangled: none is inside the others")

    def _variables(self, enters: Iterable[Node]) -> list[_Variable]:
        names = {node.name: node for node in enters}
        found = []
        for merge in [node for node in self.nodes.values() if node.op in MERGE]:
            sources = [self.nodes.get(split_ref(ref)[0]) for ref in merge.inputs]
            enter = next((node for node in sources if node is not None and node.name in names), None)
            after = next((node for node in sources if node is not None and node.op in NEXT), None)
            if enter is not None and after is not None:
                switch = next((n.name for n in self.nodes.values() if n.op in SWITCH and n.inputs[0] == merge.name), "")
                found.append(_Variable(enter, merge.name, after, switch))
        return found

    def _behind(self, refs: Iterable[str], stops: set[str]) -> set[str]:
        """Names of nodes that refs need, up to `stops`."""
        seen: set[str] = set()
        stack = [split_ref(ref)[0] for ref in refs]
        while stack:
            name = stack.pop()
            node = self.nodes.get(name)
            if node is None or name in seen or name in stops or name in self._body.arguments:
                continue
            seen.add(name)
            stack += [split_ref(ref)[0] for ref in node.inputs]
        return seen

    # -- loops -----------------------------------------------------------------------------------------------------

    def loop(self, frame: str) -> None:
        """Raise one frame."""
        enters = self.frames()[frame]
        variables = self._variables(enters)
        switches = [self.nodes[item.switch] for item in variables if item.switch]
        if not switches:
            raise Unsupported("control-flow", f"the loop '{frame}' has no condition")
        condition = self.nodes[split_ref(switches[0].inputs[1])[0]]
        entered = {item.enter.name for item in variables}
        constants = [node for node in enters if node.name not in entered]
        inner = {f"{item.switch}:1": item.merge for item in variables if item.switch}
        nodes = {name: _renamed(node, inner) for name, node in self.nodes.items()}
        arguments = (*(item.merge for item in variables), *(node.name for node in constants))
        base = f"{self._body.name}/{frame}"
        results = [_new(item.after.inputs[0], inner) for item in variables] + [node.name for node in constants]
        self.made.append(Body(f"{base}/cond", arguments, nodes, (_new(condition.inputs[0], inner),)))
        self.made.append(Body(f"{base}/body", arguments, nodes, tuple(results)))
        operands = tuple(node.inputs[0] for node in (*(item.enter for item in variables), *constants))
        name = self._free(frame)
        self._replace_exits(variables, name)
        gone = {node.name for node in (*enters, condition)}
        gone |= {part for item in variables for part in (item.merge, item.after.name, item.switch)}
        self.nodes = {key: node for key, node in self.nodes.items() if key not in gone}
        self.nodes[name] = Node(name, "While", operands, {"cond": f"{base}/cond", "body": f"{base}/body"})

    def _replace_exits(self, variables: list[_Variable], loop: str) -> None:
        left = {item.switch: number for number, item in enumerate(variables) if item.switch}
        places = {
            node.name: f"{loop}:{left[split_ref(node.inputs[0])[0]]}"
            for node in self.nodes.values()
            if node.op in EXIT and split_ref(node.inputs[0])[0] in left
        }
        places = {name: ref[:-2] if ref.endswith(":0") else ref for name, ref in places.items()}
        self._rename(places)
        for name in places:
            del self.nodes[name]

    def _rename(self, places: Mapping[str, str]) -> None:
        self.nodes = {name: _renamed(node, places) for name, node in self.nodes.items()}
        self.returns = [_new(ref, places) for ref in self.returns]

    def _free(self, name: str) -> str:
        while name in self.nodes:
            name += "_"
        return name

    # -- branches --------------------------------------------------------------------------------------------------

    def branch(self, name: str) -> None:
        """Raise one Merge; one that cannot be understood stays, and is declined for what it is."""
        merge = self.nodes[name]
        if len(merge.inputs) != 2 or any(f"{name}:1" in node.inputs for node in self.nodes.values()):
            return
        found = [self._ways(ref) for ref in merge.inputs]
        known = next((way for way in found if way is not None), None)
        if known is None:
            return
        predicate = known[0]
        sides = [way[1] if way is not None and way[0] == predicate else None for way in found]
        if sides[0] == sides[1]:
            return
        sides = [1 - int(sides[1] or 0) if sides[0] is None else sides[0], sides[1]]
        true, false = (merge.inputs[0], merge.inputs[1]) if sides[0] == 1 else (merge.inputs[1], merge.inputs[0])
        self._raise_branch(name, predicate, (true, false))

    def _ways(self, ref: str) -> tuple[str, int] | None:
        """Predicate and side of the Switch that a ref comes from, by data, or else by what must run before it."""
        for by_control in (False, True):
            seen: set[str] = set()
            stack = [ref]
            while stack:
                current = stack.pop()
                name, number = split_ref(current)
                node = self.nodes.get(name)
                if node is not None and node.op in SWITCH:
                    return node.inputs[1], number
                if node is None or name in seen:
                    continue
                seen.add(name)
                stack += [*node.inputs, *(node.controls if by_control else ())]
        return None

    def _raise_branch(self, name: str, predicate: str, ways: tuple[str, str]) -> None:
        opened = {node.name for node in self.nodes.values() if node.op in SWITCH and node.inputs[1] == predicate}
        inside = [self._dependent(ref, opened) for ref in ways]
        outer: dict[str, None] = {}
        for ref, depending in zip(ways, inside, strict=True):
            if split_ref(ref)[0] not in depending | opened:
                self._outside(ref, outer)
            for held in depending:
                for operand in self.nodes[held].inputs:
                    if split_ref(operand)[0] not in depending | opened:
                        self._outside(operand, outer)
        used = sorted(
            {split_ref(ref)[0] for part in inside for held in part for ref in self.nodes[held].inputs} & opened
            | {split_ref(ref)[0] for ref in ways} & opened
        )
        arguments, base = (*used, *outer), f"{self._body.name}/{name}"
        for side, ref in ((1, ways[0]), (0, ways[1])):
            taken = {f"{item}:1": item for item in opened} if side else {}
            nodes = {key: _renamed(node, taken) for key, node in self.nodes.items()}
            self.made.append(Body(f"{base}/{side}", arguments, nodes, (_new(ref, taken),)))
        operands = (predicate, *(self.nodes[item].inputs[0] for item in used), *outer)
        self.nodes[name] = Node(name, "If", operands, {"then_branch": f"{base}/1", "else_branch": f"{base}/0"})

    def _outside(self, ref: str, outer: dict[str, None]) -> None:
        """What a branch reads from around it goes in as an argument; constants go along."""
        node = self.nodes.get(split_ref(ref)[0])
        if node is None or node.op != "Const":
            outer[ref] = None

    def _dependent(self, ref: str, opened: set[str]) -> set[str]:
        """Nodes behind a ref that depend on one of the Switches."""
        behind = self._behind([ref], opened)
        order = [node.name for node in self.body().order() if node.name in behind]
        found: set[str] = set()
        for name in order:
            if any(split_ref(item)[0] in opened or split_ref(item)[0] in found for item in self.nodes[name].inputs):
                found.add(name)
        return found


def _new(ref: str, places: Mapping[str, str]) -> str:
    return places.get(ref, ref)


def _renamed(node: Node, places: Mapping[str, str]) -> Node:
    if not any(ref in places for ref in node.inputs):
        return node
    return replace(node, inputs=tuple(_new(ref, places) for ref in node.inputs))
