"""A program read: functions inlined, constants folded, every node drawn by its reader on a canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.errors import BessemerError
from bessemer.ir.registry import Registry
from bessemer.runners.tensorflow.interpreter import Interpreter
from bessemer.runners.tensorflow.program import DEEPEST, VARIABLES, Bodies, Body, Program, assigned, split_ref
from bessemer.sources.channels_last.signal import Complex
from bessemer.sources.drawing import TENSOR_KEY, Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.partial import derived
from bessemer.sources.tensorflow.raising import raised
from bessemer.sources.tensorflow.values import Handle, Nothing, Value, constant
from bessemer.wire.errors import WireError
from bessemer.wire.savedmodel.node import Node

if TYPE_CHECKING:
    from bessemer.runners.tensorflow.registry import Evaluator
    from bessemer.sources.tensorflow.registry import Reader

MOST_NODES = 200_000
"""Nodes read, functions inlined: functions that call each other twice double at every level."""
MOST_FOLDED = 1 << 24
"""Elements of a constant that an operator makes out of nothing."""
GROWING = {"Fill": 0, "BroadcastTo": 1, "Range": 1, "LinSpace": 2, "OneHot": 1, "Tile": 1}
"""Operators whose results may be larger than their operands, and which operand says how large."""
PASSING = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics", "ReadVariableOp"})
CONTRADICTIONS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What a reader stumbles over where a broken file contradicts itself."""
DRAWN = frozenset({"FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel"})
"""Operators on constants that stay: what a weight was trained to be in integers is its encoding."""
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
STRUCTURES = ("branches", "lists", "loops")


class Reading:
    """One program being read. filled: tensors all of whose elements are one number, whatever their dims are."""

    def __init__(self, program: Program, notes: list[str]) -> None:
        from bessemer.runners.tensorflow.registry import evaluators
        from bessemer.sources.tensorflow.ops.refused import refuse
        from bessemer.sources.tensorflow.registry import readers

        self.program, self.notes = program, notes
        self.interpreter = Interpreter(program)
        self.readers: Mapping[str, Reader] = readers()
        self.evaluators: Mapping[str, Evaluator] = evaluators()
        self.functions = Bodies({})
        self._refuse = refuse
        self.filled: dict[int, tuple[Ordered, Any]] = {}
        self._structures = structures()
        self._variables: dict[str, Handle] = {}
        self._raised: dict[int, tuple[Body, Body]] = {}
        self._read: set[str] = set()
        self._assigned: dict[str, str] = {}
        self._count = self._depth = 0

    # -- bodies ----------------------------------------------------------------------------------------------------

    def function(self, name: Any) -> Body:
        """A function by name, its control flow structured. Raises Unsupported where there is none."""
        key = str(name)
        found = self.functions.made(key) or self.program.functions.get(key)
        if found is None:
            raise Unsupported("function", f"it calls the function '{key}', which the file does not hold")
        return self.structured(found)

    def structured(self, body: Body) -> Body:
        """The body with Switch, Merge and frames raised to If and While; those functions join `functions`."""
        if id(body) not in self._raised:
            made, inner = raised(body)
            for item in inner:
                self.functions.add(item)
            self._raised[id(body)] = (body, made)
        return self._raised[id(body)][1]

    def run(self, canvas: Canvas, body: Body, arguments: Sequence[Value], path: str) -> list[Value]:
        """Draw a body for values of its arguments; its results. path: where it is called from."""
        if len(arguments) != len(body.arguments):
            raise Unsupported("function", f"{len(arguments)} operands for '{body.name}', which takes {len(body.arguments)}")
        if self._depth >= DEEPEST:
            raise Unsupported("recursion", f"functions call each other more than {DEEPEST} deep")
        self._depth += 1
        held: dict[str, Value] = dict(zip(body.arguments, arguments, strict=True))
        try:
            for node in body.order():
                self._count += 1
                if self._count > MOST_NODES:
                    raise WireError(f"more than {MOST_NODES:,} nodes when functions are inlined")
                self._keep(held, body, node, self._node(canvas, node, [_held(held, ref) for ref in node.inputs], path))
        finally:
            self._depth -= 1
        self._note_assigned(body, held)
        return [_held(held, ref) for ref in body.returns]

    def call(self, canvas: Canvas, name: Any, inputs: Sequence[Value], path: str) -> list[Value]:
        """Inline a function."""
        return self.run(canvas, self.function(name), inputs, path)

    @staticmethod
    def _keep(held: dict[str, Value], body: Body, node: Node, results: Sequence[Value]) -> None:
        for number, value in enumerate(results):
            held.setdefault(f"{node.name}:{number}" if number else node.name, value)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _node(self, canvas: Canvas, node: Node, inputs: list[Value], path: str) -> Sequence[Value]:
        """Results of a node; what cannot be read is remembered and stands for nothing."""
        name = f"{path}/{node.name}" if path else node.name
        canvas.layer = name
        try:
            results = self._results(canvas, node, inputs, name)
        except Unsupported as problem:
            canvas.layer = name
            return self._unread(canvas, node, inputs, problem)
        except (WireError, BessemerError):
            raise
        except CONTRADICTIONS as error:  # attributes and operands of a broken file fit in no way that a reader foresees
            canvas.layer = name
            why = f"its attributes and operands do not fit each other ({type(error).__name__}: {error})"
            return self._unread(canvas, node, inputs, Unsupported("contradiction", why[:300]))
        for number, value in enumerate(results):
            self._named(value, inputs, f"{name}:{number}" if number else name)
        return results

    def _unread(self, canvas: Canvas, node: Node, inputs: Sequence[Value], problem: Unsupported) -> list[Value]:
        """A stand-in where the node was: what does not depend on it can be cut out; its results, where they are known."""
        name = canvas.layer
        tensors = [held for held in inputs if isinstance(held, Ordered) and not isinstance(held, Complex) and held.orders]
        said = [(f"{name}:{place}" if place else name, *held) for place, held in enumerate(problem.results)]
        made = canvas.unread(node.op, problem, tensors, said or [(name, (), None)])
        return list(made) if problem.results else [Nothing(name)]

    def _results(self, canvas: Canvas, node: Node, inputs: list[Value], name: str) -> Sequence[Value]:
        structure = self._structures.get(node.op)
        if node.op in CALLS:
            return self.call(canvas, node.attrs.get("f"), inputs, inside(name))
        if node.op in self.program.functions:
            return self.call(canvas, node.op, inputs, inside(name))
        if node.op in VARIABLES:
            return [self._variable(canvas, node)]
        if structure is None and node.op not in self.readers and node.op not in self.evaluators and node.op != "Const":
            raise Unsupported("no-reader", f"the operator {node.op} has no reading in ONNX here")
        if any(isinstance(value, Nothing) for value in inputs):
            if self.readers.get(node.op) is self._refuse:
                self._refuse(canvas, node, [])
            return [Nothing(name)]
        if structure is not None:
            return structure(self, canvas, node, inputs, name)
        if node.op in PASSING and not isinstance(inputs[0], Ordered):
            return [self._plain(inputs[0], node) if node.op == "ReadVariableOp" else inputs[0]]
        tensors = [self._plain(value, node) for value in inputs]
        return self._folded(canvas, node, tensors) or self._drawn(canvas, node, tensors)

    def _plain(self, value: Value, node: Node) -> Ordered:
        if isinstance(value, Handle):
            self._read.add(value.key)
            return value.tensor
        if not isinstance(value, Ordered):
            raise Unsupported("list", f"{node.op} reads a list of tensors")
        return value

    def _folded(self, canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> list[Ordered]:
        """Results of a node whose operands are all constant; none where it is not to be computed now."""
        if node.op == "Const":
            return [constant(canvas, np.asarray(node.attrs["value"]), node.name)]
        if not inputs or node.op in PASSING or node.op in DRAWN or node.op not in self.evaluators or _grows(node, inputs):
            return []
        known = [tensor.known for tensor in inputs]
        if any(array is None for array in known):
            return []
        made = self.evaluators[node.op](node, [array for array in known if array is not None])
        results = list(made) if isinstance(made, list | tuple) else [made]
        return [constant(canvas, np.asarray(array), node.name) for array in results]

    def _drawn(self, canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Sequence[Ordered]:
        reader = self.readers.get(node.op)
        if reader is None:
            raise Unsupported("no-reader", f"the operator {node.op} has no reading in ONNX here, but for constants")
        made = reader(canvas, node, inputs)
        results = [made] if isinstance(made, Ordered) else list(made)
        dims = derived(node, inputs)
        if dims is not None and results and results[0].known is None and results[0].rank <= 1:
            bound = [dim for dim in dims if isinstance(dim, int)]
            if len(bound) == len(dims):
                array = np.array(bound, results[0].dtype.numpy())
                results[0] = canvas.constant(array.reshape(() if results[0].rank == 0 else -1), node.name)
            elif not any(results[0] is tensor for tensor in inputs):
                results[0].dims = dims
        if node.op == "Fill" and inputs[1].known is not None:
            self.filled[id(results[0])] = (results[0], inputs[1].known)
        return results

    @staticmethod
    def _named(value: Value, inputs: Sequence[Value], ref: str) -> None:
        """Values that hold a result know which tensor of the file they are."""
        if not isinstance(value, Ordered) or isinstance(value, Complex) or any(value is item for item in inputs):
            return
        for order, held in value.orders.items():
            if held.meta.get(TENSOR_KEY, ("",))[0] == held.name:
                held.meta[TENSOR_KEY] = (ref, order)

    # -- variables -------------------------------------------------------------------------------------------------

    def _variable(self, canvas: Canvas, node: Node) -> Handle:
        if node.name not in self._variables:
            try:
                array = np.asarray(self.program.variables[node.name])
            except KeyError:
                raise Unsupported(
                    "variable", f"the variable '{node.name}' has no value in the checkpoint", "save it, or freeze the graph"
                ) from None
            self._variables[node.name] = Handle(node.name, constant(canvas, array, node.name))
        return self._variables[node.name]

    def _note_assigned(self, body: Body, held: Mapping[str, Value]) -> None:
        """Which variables a function writes while it runs."""
        for node in assigned(body) if body.controls else ():
            target = held.get(node.inputs[0]) if node.inputs else None
            if isinstance(target, Handle):
                self._assigned[target.key] = node.op

    def refuse_state(self, canvas: Canvas) -> None:
        """A variable that is both written and read keeps a state between calls, which the canonical graph has none of."""
        for key in sorted(self._read & set(self._assigned)):
            canvas.layer = key
            canvas.block(self._assigned[key], Unsupported("state", f"the variable '{key}' is assigned while the model runs"))


Structure = Callable[[Reading, Canvas, Node, list[Value], str], Sequence[Value]]
structure: Registry[Structure] = Registry("bessemer.sources.tensorflow", STRUCTURES)
"""Register what calls functions or handles lists: it is given the reading beside what a reader gets."""

structures = structure.table
"""All of them by operator name."""


def inside(name: str) -> str:
    """The path of what a call inlines: the caller's, without the names that TensorFlow gives calls itself."""
    parts = name.split("/")
    return "/".join(parts[:-1]) if parts[-1] in CALLS else name


def _held(held: Mapping[str, Value], ref: str) -> Value:
    if ref in held:
        return held[ref]
    first = held.get(split_ref(ref)[0])
    if isinstance(first, Nothing):
        return first
    raise WireError(f"'{ref}' is read, and nothing makes it")


def _grows(node: Node, inputs: Sequence[Ordered]) -> bool:
    """Whether a constant would be made that is much larger than what it is made of."""
    place = GROWING.get(node.op)
    if place is None or place >= len(inputs) or inputs[place].known is None:
        return False
    held = np.asarray(inputs[place].known, np.float64).reshape(-1)
    if node.op == "Range":
        step = float(np.asarray(inputs[2].known).reshape(())) if inputs[2].known is not None else 0.0
        start = float(np.asarray(inputs[0].known).reshape(())) if inputs[0].known is not None else 0.0
        return not step or (held[0] - start) / step > MOST_FOLDED
    size = float(np.prod(held)) if held.size else 1.0
    if node.op in ("Tile", "OneHot") and inputs[0].known is not None:
        size *= max(inputs[0].known.size, 1)
    return size > MOST_FOLDED
