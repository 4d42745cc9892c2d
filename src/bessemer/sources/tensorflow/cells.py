"""Recurrent cells recognised in the body of a loop, by what it computes and not by how it is spelt.

The body is evaluated on symbols: whatever is linear in the round's input and in the states is kept as matrices (`Linear`),
so that products of joined operands, split kernels and gates computed one by one look the same; the rest are products and
activations of such sums. An LSTM, a GRU (its reset gate before or after the product) or a plain recurrent layer is what has
exactly the form of ONNX's operator; everything else stays a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.types import Array
from bessemer.runners.tensorflow.program import Body
from bessemer.sources.channels_last import shaping
from bessemer.sources.drawing import Canvas, Ordered
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.values import Handle, Items, Stack, Value

if TYPE_CHECKING:
    from bessemer.sources.tensorflow.loops import Rounds
    from bessemer.sources.tensorflow.reading import Reading

Symbol = tuple[Any, ...]
"""('input', place of the list), ('state', place), ('act', name, key), ('mul', key, key): equal ones are equal values."""
ACTIVATIONS = {"Sigmoid": "Sigmoid", "Tanh": "Tanh", "Relu": "Relu", "Softsign": "Softsign", "Softplus": "Softplus",
               "Elu": "Elu"}  # fmt: skip
PASSING = ("Identity", "StopGradient", "Snapshot", "PreventGradient", "ReadVariableOp")


class Unknown(Exception):
    """The body holds something else than a cell is made of."""


@dataclass(frozen=True)
class Linear:
    """A sum of symbols times matrices (None: the identity) plus a vector. width: of the result."""

    terms: dict[Symbol, Array | None]
    bias: Array | None
    width: int

    @property
    def symbol(self) -> Symbol:
        """The symbol that this is nothing but, or one for the sum."""
        if len(self.terms) == 1 and self.bias is None and next(iter(self.terms.values())) is None:
            return next(iter(self.terms))
        return ("sum", _Key(self))


@dataclass(frozen=True, eq=False)
class _Key:
    """A sum as part of a symbol; equal where its terms are the same arrays or have equal ones."""

    sum: Linear
    names: frozenset[Symbol] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(self.sum.terms))

    def __hash__(self) -> int:
        return hash(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key) or self.names != other.names:
            return False
        pairs = [(self.sum.terms[name], other.sum.terms[name]) for name in self.names]
        return all(map(_same, *zip(*pairs, (self.sum.bias, other.sum.bias), strict=True)))


def _same(a: Array | None, b: Array | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


@dataclass(frozen=True)
class Layer:
    """A recurrent layer: op as ONNX calls it; weights as its gates want them.

    hidden, cell: places of the states; list: place of the list that is read; written: places of lists that get the
    hidden state, and whether at each round or at the first place only.
    """

    op: str
    kernel: Array
    recurrent: Array
    bias: Array
    hidden: int
    cell: int | None
    list: int
    activations: tuple[str, ...]
    attributes: dict[str, Any]
    written: dict[int, bool]


def recognised(
    reading: Reading, body: Body, inputs: Sequence[Value], fixed: set[int], rounds: Rounds
) -> Layer | None:
    """The layer that a loop's body is; None where it is none, or reads its input in another order."""
    sources = [place for place in fixed if isinstance(inputs[place], Stack)]
    states = [place for place, value in enumerate(inputs) if _is_state(value) and place not in fixed]
    if len(sources) != 1 or not 1 <= len(states) <= 2:
        return None
    source = inputs[sources[0]]
    assert isinstance(source, Stack)
    length = rounds.count if rounds.count is not None else rounds.symbol
    if length is None or length == 0 or source.length != length or source.tensor.rank != 3:
        return None
    walk = _Symbolic(reading, body, inputs, fixed, sources[0], rounds)
    try:
        with np.errstate(all="ignore"):  # weights may be infinite
            after = {place: walk.value(body.returns[place]) for place in states}
            written = {place: _written(walk, body, place, inputs) for place, value in enumerate(inputs)
                       if isinstance(value, Items) and place not in fixed}  # fmt: skip
    except Unknown:
        return None
    if not all(isinstance(value, Linear) for value in after.values()):
        return None
    for match in (_lstm, _gru, _simple):
        layer = match(after, sources[0])
        if layer is not None and _all_hidden(layer, written, after):
            return _with_written(layer, {place: each for place, (_, each) in written.items()})
    return None


def _is_state(value: Value) -> bool:
    import onnx_ir

    floats = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16)
    return isinstance(value, Ordered) and value.rank == 2 and value.dtype in floats


def _all_hidden(layer: Layer, written: dict[int, tuple[Any, bool]], after: dict[int, Any]) -> bool:
    hidden = after[layer.hidden].symbol
    return all(isinstance(value, Linear) and value.symbol == hidden for value, _ in written.values())


def _with_written(layer: Layer, written: dict[int, bool]) -> Layer:
    from dataclasses import replace

    return replace(layer, written=written)


# -- the body on symbols -----------------------------------------------------------------------------------------------


class _Symbolic:
    """Evaluates refs of a body: arrays where they are constant, `Linear` otherwise. Raises Unknown."""

    def __init__(
        self, reading: Reading, body: Body, inputs: Sequence[Value], fixed: set[int], source: int, rounds: Rounds
    ) -> None:
        self.reading, self.body, self.inputs, self.fixed = reading, body, inputs, fixed
        self.source, self.rounds = source, rounds
        self._made: dict[str, Any] = {}

    def value(self, ref: str) -> Any:
        """What a ref is."""
        from bessemer.runners.tensorflow.program import sorted_nodes

        for node in sorted_nodes(self.body, [ref]):
            if node.name not in self._made:
                for number, item in enumerate(self._node(node)):
                    self._made[f"{node.name}:{number}" if number else node.name] = item
        return self._get(ref)

    def _get(self, ref: str) -> Any:
        if ref in self.body.arguments:
            return self._argument(self.body.arguments.index(ref))
        if ref not in self._made:
            raise Unknown
        return self._made[ref]

    def _argument(self, place: int) -> Any:
        value = self.inputs[place]
        if isinstance(value, Handle):
            value = value.tensor
        if isinstance(value, Ordered):
            if place in self.fixed and value.known is not None:
                return value.known
            if place not in self.fixed and _is_state(value) and isinstance(value.shape[1], int):
                return Linear({("state", place): None}, None, value.shape[1])
        return ("argument", place)

    def _node(self, node: Node) -> list[Any]:
        if node.op == "Const":
            return [np.asarray(node.attrs["value"])]
        operands = [self._get(ref) for ref in node.inputs]
        if node.op in PASSING:
            return operands[:1]
        if all(isinstance(item, np.ndarray) for item in operands):
            return self._constant(node, operands)
        rule = RULES.get(node.op)
        if rule is None:
            if not any(isinstance(item, Linear) for item in operands):
                return [("other", node.name)]
            raise Unknown
        made = rule(self, node, operands)
        return list(made) if isinstance(made, list) else [made]

    def _constant(self, node: Node, operands: list[Any]) -> list[Any]:
        run = self.reading.evaluators.get(node.op)
        if run is None:
            raise Unknown
        made = run(node, operands)
        return list(made) if isinstance(made, list | tuple) else [made]

    def counted(self, ref: str) -> bool:
        """Whether a ref is the number of the round."""
        from bessemer.sources.tensorflow.loops import counts, origin

        found = origin(self.body, ref)
        if found not in self.body.arguments:
            return False
        place = self.body.arguments.index(found)
        states = self.rounds.states
        if states is not None and place in states:
            return [int(np.asarray(item)) for item in states[place]] == list(range(len(states[place])))
        return counts(self.body, place, self.inputs[place])


def _item(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    """The round's slice of the input."""
    held, at = (0, 1) if node.op == "TensorListGetItem" else (2, 1)
    if operands[held] != ("argument", walk.source) or not walk.counted(node.inputs[at]):
        raise Unknown
    whole = walk.inputs[walk.source]
    assert isinstance(whole, Stack)
    width = whole.tensor.shape[2]
    if not isinstance(width, int):
        raise Unknown
    return Linear({("input", walk.source): None}, None, width)


def _matmul(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    left, right = operands
    if not isinstance(left, Linear) or not isinstance(right, np.ndarray) or right.ndim != 2:
        raise Unknown
    if node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
        raise Unknown
    matrix = right.T if node.attrs.get("transpose_b") or node.attrs.get("adj_y") else right
    terms: dict[Symbol, Array | None] = {
        name: matrix if held is None else held @ matrix for name, held in left.terms.items()
    }
    return Linear(terms, None if left.bias is None else left.bias @ matrix, matrix.shape[1])


def _add(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    left, right = operands
    if isinstance(left, np.ndarray):
        left, right = right, left
    if not isinstance(left, Linear):
        raise Unknown
    if isinstance(right, np.ndarray):
        return Linear(left.terms, _vector(right, left.width) + _plain(left.bias, left.width), left.width)
    if not isinstance(right, Linear) or left.width != right.width:
        raise Unknown
    terms = dict(left.terms)
    for name, held in right.terms.items():
        terms[name] = _matrix(terms[name], left.width) + _matrix(held, left.width) if name in terms else held
    bias = None
    if left.bias is not None or right.bias is not None:
        bias = _plain(left.bias, left.width) + _plain(right.bias, left.width)
    return Linear(terms, bias, left.width)


def _add_n(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    result = operands[0]
    for item in operands[1:]:
        result = _add(walk, node, [result, item])
    return result


def _subtract(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    left, right = operands
    if not isinstance(right, Linear):
        return _add(walk, node, [left, -np.asarray(right)])
    return _add(walk, node, [left, _scaled(right, np.float32(-1.0))])


def _multiply(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    left, right = operands
    if isinstance(left, np.ndarray):
        left, right = right, left
    if not isinstance(left, Linear):
        raise Unknown
    if isinstance(right, np.ndarray):
        return _scaled(left, right)
    if not isinstance(right, Linear) or left.width != right.width:
        raise Unknown
    return Linear({("mul", frozenset((left.symbol, right.symbol))): None}, None, left.width)


def _scaled(held: Linear, by: Any) -> Linear:
    vector = _vector(np.asarray(by), held.width)
    terms: dict[Symbol, Array | None] = {
        name: _matrix(matrix, held.width) * vector for name, matrix in held.terms.items()
    }
    return Linear(terms, None if held.bias is None else held.bias * vector, held.width)


def _split(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    held = operands[0] if node.op == "SplitV" else operands[1]
    axis = operands[2] if node.op == "SplitV" else operands[0]
    if not isinstance(held, Linear) or not isinstance(axis, np.ndarray) or int(axis) not in (1, -1):
        raise Unknown
    count = int(node.attrs["num_split"])
    sizes = [int(size) for size in np.ravel(operands[1])] if node.op == "SplitV" else [held.width // count] * count
    if -1 in sizes:
        sizes[sizes.index(-1)] = held.width - sum(sizes) - 1
    if sum(sizes) != held.width or min(sizes) < 0:
        raise Unknown
    ends = np.cumsum(sizes)
    return [_columns(held, int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]


def _slice(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    """Columns of all rows."""
    held, *bounds = operands
    masks = {key: int(node.attrs.get(f"{key}_mask", 0)) for key in ("begin", "end", "shrink_axis", "new_axis", "ellipsis")}
    if not isinstance(held, Linear) or not all(isinstance(item, np.ndarray) and item.size == 2 for item in bounds):
        raise Unknown
    begin, end, step = ([int(number) for number in item] for item in bounds)
    if masks["shrink_axis"] or masks["new_axis"] or masks["ellipsis"] or step != [1, 1]:
        raise Unknown
    if (not masks["begin"] & 1 and begin[0] != 0) or not masks["end"] & 1:
        raise Unknown
    cut = slice(None if masks["begin"] & 2 else begin[1], None if masks["end"] & 2 else end[1]).indices(held.width)
    return _columns(held, cut[0], cut[1])


def _columns(held: Linear, start: int, end: int) -> Linear:
    symbol = held.symbol
    if symbol[0] == "act":  # what is done to every element is done to those of some columns
        return Linear({("act", symbol[1], _Key(_columns(symbol[2].sum, start, end))): None}, None, end - start)
    terms: dict[Symbol, Array | None] = {
        name: _matrix(matrix, held.width)[:, start:end] for name, matrix in held.terms.items()
    }
    return Linear(terms, None if held.bias is None else held.bias[start:end], end - start)


def _join(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    parts, axis = operands[:-1], operands[-1]
    if not isinstance(axis, np.ndarray) or int(axis) not in (1, -1) or not all(isinstance(p, Linear) for p in parts):
        raise Unknown
    width, start = sum(part.width for part in parts), 0
    terms: dict[Symbol, Array | None] = {}
    bias = np.zeros(width, np.float32)
    for part in parts:
        for name, held in part.terms.items():
            matrix = _matrix(held, part.width)
            wide = np.zeros((matrix.shape[0], width), matrix.dtype)
            wide[:, start : start + part.width] = matrix
            other = terms.get(name)
            terms[name] = wide if other is None else other + wide
        if part.bias is not None:
            bias[start : start + part.width] = part.bias
        start += part.width
    return Linear(terms, bias if any(part.bias is not None for part in parts) else None, width)


def _activate(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    if not isinstance(operands[0], Linear):
        raise Unknown
    held = operands[0]
    return Linear({("act", ACTIVATIONS[node.op], _Key(held)): None}, None, held.width)


def _other(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    """What no cell is made of; it matters only where a state or an output follows from it."""
    return ("other", node.name)


def _set(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    listed, place, made = (0, 1, 2) if node.op == "TensorListSetItem" else (3, 1, 2)
    where = operands[place]
    first = isinstance(where, np.ndarray) and int(where) == 0
    if not first and not walk.counted(node.inputs[place]):
        raise Unknown
    return ("set", operands[listed], operands[made], not first)


def _push(walk: _Symbolic, node: Node, operands: list[Any]) -> Any:
    return ("set", operands[0], operands[1], True)


RULES: dict[str, Any] = {
    "MatMul": _matmul, "BatchMatMulV2": _matmul, "BiasAdd": _add, "Add": _add, "AddV2": _add, "AddN": _add_n,
    "Sub": _subtract, "Mul": _multiply, "Split": _split, "SplitV": _split, "StridedSlice": _slice, "ConcatV2": _join,
    "TensorListGetItem": _item, "TensorArrayReadV3": _item, "TensorListSetItem": _set, "TensorArrayWriteV3": _set,
    "TensorListPushBack": _push, **dict.fromkeys(ACTIVATIONS, _activate),
}  # fmt: skip


def _vector(array: Array, width: int) -> Array:
    flat = array.reshape(-1)
    if array.size not in (1, width) or array.ndim > 2:
        raise Unknown
    return np.broadcast_to(flat, (width,))


def _plain(bias: Array | None, width: int) -> Array:
    return np.zeros(width, np.float32) if bias is None else bias


def _matrix(held: Array | None, width: int) -> Array:
    return np.eye(width, dtype=np.float32) if held is None else held


def _written(walk: _Symbolic, body: Body, place: int, inputs: Sequence[Value]) -> tuple[Any, bool]:
    """What a round writes to a list, and whether at a place of its own."""
    held = walk.value(body.returns[place])
    if not isinstance(held, tuple) or held[0] != "set" or held[1] != ("argument", place):
        raise Unknown
    return held[2], held[3]


# -- the forms of cells ------------------------------------------------------------------------------------------------


def _lstm(after: dict[int, Linear], source: int) -> Layer | None:
    """c' = f c + i g, h' = o act(c'); gates are activations of sums of the input and h."""
    for cell, hidden in ((a, b) for a in after for b in after if a != b):
        parts = _products(after[cell])
        output = _product(after[hidden])
        if parts is None or len(parts) != 2 or output is None:
            continue
        forget = next((part - {("state", cell)} for part in parts if ("state", cell) in part), None)
        entering = next((part for part in parts if ("state", cell) not in part), None)
        key = ("act", _Key(after[cell]))
        outer = [item for item in output if item[0] == "act" and ("act", item[2]) == key]
        gates = _gates(forget, entering)
        if len(outer) != 1 or gates is None:
            continue
        (last,) = output - {outer[0]}
        made = _lstm_layer([gates[0], last, gates[1], gates[2]], outer[0][1], source, hidden, cell)
        if made is not None:
            return made
    return None


def _gates(forget: frozenset[Symbol] | None, entering: frozenset[Symbol] | None) -> tuple[Symbol, Symbol, Symbol] | None:
    """Input gate, forget gate and candidate; the candidate is what is not as the forget gate is activated."""
    if forget is None or entering is None or len(forget) != 1 or len(entering) != 2:
        return None
    (gate,) = forget
    alike = [item for item in entering if item[:2] == gate[:2]]
    if gate[0] != "act" or len(alike) != 1:
        return None  # both activated alike: which of them is the gate cannot be told, nor does it matter: see below
    (candidate,) = entering - {alike[0]}
    return alike[0], gate, candidate


def _lstm_layer(gates: list[Symbol], outer: str, source: int, hidden: int, cell: int) -> Layer | None:
    """gates: input, output, forget, candidate, as ONNX orders them (iofc)."""
    if any(gate[0] != "act" for gate in gates) or len({gates[place][1] for place in (0, 1, 2)}) != 1:
        return None
    sums = [gate[2].sum for gate in gates]
    weights = _weights(sums, source, hidden)
    if weights is None:
        return None
    names = (gates[0][1], gates[3][1], outer)
    kernel, recurrent, bias = weights
    both = np.concatenate([bias, np.zeros_like(bias)])
    return Layer("LSTM", kernel, recurrent, both, hidden, cell, source, names, {}, {})


def _gru(after: dict[int, Linear], source: int) -> Layer | None:
    """h' = z h + (1 - z) n, n = act(x W + r (h R)) or act(x W + (r h) R)."""
    if len(after) != 1:
        return None
    ((hidden, result),) = after.items()
    parts = _products(result)
    if parts is None or len(parts) != 2:
        return None
    state = ("state", hidden)
    update = next((part - {state} for part in parts if state in part), None)
    mixed = next((part for part in parts if state not in part), None)
    if update is None or mixed is None or len(update) != 1 or len(mixed) != 2:
        return None
    (z,) = update
    opposite = [item for item in mixed if _is_opposite(item, z)]
    if z[0] != "act" or len(opposite) != 1:
        return None
    (candidate,) = mixed - {opposite[0]}
    return _gru_layer(z, candidate, source, hidden) if candidate[0] == "act" else None


def _is_opposite(item: Symbol, gate: Symbol) -> bool:
    """Whether a symbol is one minus a gate."""
    if item[0] != "sum":
        return False
    held = item[1].sum
    if set(held.terms) != {gate} or held.bias is None or not np.all(held.bias == 1):
        return False
    return _same(held.terms[gate], -np.eye(held.width, dtype=np.float32))


def _gru_layer(z: Symbol, candidate: Symbol, source: int, hidden: int) -> Layer | None:
    held = candidate[2].sum
    reset = [name for name in held.terms if name[0] == "mul"]
    if len(reset) != 1 or set(held.terms) - {("input", source), reset[0]}:
        return None
    state, factors = ("state", hidden), reset[0][1]
    matrix = held.terms[reset[0]]
    inner = next((item for item in factors if item == state or _of_state(item, state)), None)
    rest = factors - {inner}
    if inner is None or len(rest) != 1:
        return None
    (r,) = rest
    if r[0] != "act" or r[1] != z[1]:
        return None
    after = matrix is None
    if not after and inner != state:
        return None
    if inner == state:
        terms = {**{key: item for key, item in held.terms.items() if key != reset[0]}, state: matrix}
        candidate_sum, extra = Linear(terms, held.bias, held.width), None
        after = False
    else:
        product: Linear = inner[1].sum
        terms = {**{key: item for key, item in held.terms.items() if key != reset[0]}, state: product.terms[state]}
        candidate_sum, extra = Linear(terms, held.bias, held.width), product.bias
    weights = _weights([z[2].sum, r[2].sum, candidate_sum], source, hidden)
    if weights is None:
        return None
    kernel, recurrent, bias = weights
    second = np.zeros_like(bias)
    if extra is not None:
        second[2 * held.width :] = extra
    return Layer("GRU", kernel, recurrent, np.concatenate([bias, second]), hidden, None, source,
                 (z[1], candidate[1]), {"linear_before_reset": int(after)}, {})  # fmt: skip


def _of_state(item: Symbol, state: Symbol) -> bool:
    return item[0] == "sum" and set(item[1].sum.terms) == {state}


def _simple(after: dict[int, Linear], source: int) -> Layer | None:
    """h' = act(x W + h R + b)."""
    if len(after) != 1:
        return None
    ((hidden, result),) = after.items()
    symbol = result.symbol
    weights = _weights([symbol[2].sum], source, hidden) if symbol[0] == "act" else None
    if weights is None:
        return None
    kernel, recurrent, bias = weights
    both = np.concatenate([bias, np.zeros_like(bias)])
    return Layer("RNN", kernel, recurrent, both, hidden, None, source, (symbol[1],), {}, {})


def _products(held: Linear) -> list[frozenset[Symbol]] | None:
    """The factors of every term of a plain sum of products."""
    if held.bias is not None or any(matrix is not None for matrix in held.terms.values()):
        return None
    if any(name[0] != "mul" for name in held.terms):
        return None
    return [name[1] for name in held.terms]


def _product(held: Linear) -> frozenset[Symbol] | None:
    parts = _products(held)
    return parts[0] if parts is not None and len(parts) == 1 and len(parts[0]) == 2 else None


def _weights(sums: Sequence[Linear], source: int, hidden: int) -> tuple[Array, Array, Array] | None:
    """Kernel [gates x units, inputs], recurrent kernel [gates x units, units] and bias [gates x units] of gates."""
    names = {("input", source), ("state", hidden)}
    if any(set(held.terms) != names for held in sums) or len({held.width for held in sums}) != 1:
        return None
    kernels = [_matrix(held.terms["input", source], held.width) for held in sums]
    recurrents = [_matrix(held.terms["state", hidden], held.width) for held in sums]
    if any(matrix.shape[0] != sums[0].width for matrix in recurrents):
        return None
    biases = [_plain(held.bias, held.width) for held in sums]
    return (
        np.concatenate([matrix.T for matrix in kernels]), np.concatenate([matrix.T for matrix in recurrents]),
        np.concatenate(biases),
    )  # fmt: skip


# -- drawn -------------------------------------------------------------------------------------------------------------


def draw(reading: Reading, canvas: Canvas, layer: Layer, inputs: Sequence[Value], rounds: Rounds) -> list[Value]:
    """The layer's node, and the loop's results from it."""
    source = inputs[layer.list]
    assert isinstance(source, Stack)
    units, whole = layer.recurrent.shape[1], source.tensor
    kind = np.float32 if layer.kernel.dtype != np.float64 else np.float64
    weights = [canvas.literal(np.ascontiguousarray(item[None], kind), name)
               for item, name in ((layer.kernel, "W"), (layer.recurrent, "R"), (layer.bias, "B"))]  # fmt: skip
    places = [layer.hidden] if layer.cell is None else [layer.hidden, layer.cell]
    starts: list[Any] = [_start(reading, canvas, inputs[place]) for place in places]
    if all(start is None for start in starts):
        starts = []
    else:
        starts = [_start(reading, canvas, inputs[place], always=True) for place in places]
    operands = [canvas.at(whole), *weights, None, *starts] if starts else [canvas.at(whole), *weights]
    count = 3 if layer.op == "LSTM" else 2
    made = canvas.emit(layer.op, operands, outputs=count, dtype=whole.dtype, hidden_size=units,
                       activations=list(layer.activations), **layer.attributes)  # fmt: skip
    batch = whole.shape[1]
    every = shaping.squeeze(canvas, canvas.result(made[0], (whole.shape[0], 1, batch, units)), [1])
    states = [shaping.squeeze(canvas, canvas.result(value, (1, batch, units)), [0]) for value in made[1:]]
    results = list(inputs)
    for place, state in zip(places, states, strict=True):
        results[place] = state
    for place, each in layer.written.items():
        results[place] = Stack(every if each else shaping.expand_dims(canvas, states[0], [0]))
    for place, last in (rounds.last or {}).items():
        results[place] = canvas.constant(np.asarray(last))
    return results


def _start(reading: Reading, canvas: Canvas, value: Value, *, always: bool = False) -> Any:
    """A state before the first round, with an axis for the direction; None for zeros, which are what is there anyway."""
    assert isinstance(value, Ordered)
    filled = reading.filled.get(id(value))
    zero = (filled is not None and not np.any(filled[1])) or (value.known is not None and not np.any(value.known))
    if zero and not always:
        return None
    return canvas.at(shaping.expand_dims(canvas, value, [0]))
