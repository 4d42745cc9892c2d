"""One operator at a time against TensorFlow: our numpy evaluator, and our drawn graph in ONNX Runtime.

A `Case` is an operator with operands and attributes. `answers` builds many of them in one TensorFlow graph and runs it
once; `evaluated` and `drawn` are our two readings of the node that TensorFlow wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import Declined
from bessemer.sources.channels_last.signal import Complex
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.wire.savedmodel.node import Node
from bessemer.wire.savedmodel.records import graph as read_graph

Array = np.ndarray[Any, Any]
Run = Callable[[Any, dict[str, Array]], list[Array]]
"""Executes an ONNX model on inputs by name; its outputs in order."""


@dataclass
class Case:
    """operands: by the names of tf.raw_ops; lists for operators that take any number. constant: which are part of the
    model. close: tolerances of reals (integers and booleans must be equal)."""

    op: str
    operands: dict[str, Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    close: tuple[float, float] = (1e-5, 1e-5)
    drawn: bool = True
    """False where the graph is meant to be declined."""
    compared: tuple[int, ...] = ()
    """Which results are compared, where TensorFlow leaves others to chance; none named: all."""

    def key(self) -> str:
        """What makes the case distinct."""
        shapes = [
            (k, str([(np.shape(x), np.asarray(x).dtype.str) for x in _listed(v)]))
            for k, v in self.operands.items()
        ]
        held = [np.asarray(x).tobytes() for k in self.constant for x in _listed(self.operands[k])]
        return str((self.op, shapes, sorted(map(str, self.attrs.items())), held))


def _listed(item: Any) -> list[Any]:
    return list(item) if isinstance(item, list) else [item]


def answers(cases: Sequence[Case]) -> list[tuple[Node, list[Array]] | str]:
    """The node and results of every case; TensorFlow's words where it refuses one."""
    import tensorflow as tf

    found: list[tuple[Node, list[Array]] | str] = []
    with tf.Graph().as_default() as graph:
        fetched, feeds, nodes = [], {}, []
        for number, case in enumerate(cases):
            try:
                results, fed = _built(tf, case, f"case{number}")
            except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
                found.append(" ".join(str(error).split())[:300])
                fetched.append(None)
                nodes.append("")
                continue
            found.append("")
            fetched.append(results)
            nodes.append(results[0].op.name)
            feeds.update(fed)
        with tf.compat.v1.Session(graph=graph, config=_config(tf)) as session:
            values = _run(tf, session, fetched, feeds)
    records = {node.name: node for node in read_graph(graph.as_graph_def().SerializeToString()).nodes}
    for number, name in enumerate(nodes):
        if name and not isinstance(values[number], str):
            found[number] = (records[name], [np.asarray(item) for item in values[number]])
        elif name:
            found[number] = values[number]
    return found


def _config(tf: Any) -> Any:
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def _built(tf: Any, case: Case, name: str) -> tuple[list[Any], dict[Any, Array]]:
    """Everything is fed, so that TensorFlow's kernels run; our own readers are told what is constant."""
    feeds: dict[Any, Array] = {}
    arguments: dict[str, Any] = {}

    def fed(array: Any) -> Any:
        held = np.asarray(array)
        tensor = tf.compat.v1.placeholder(held.dtype, held.shape)
        feeds[tensor] = held
        return tensor

    for key, item in case.operands.items():
        constant = key in case.constant
        made = [tf.constant(x) if constant else fed(x) for x in _listed(item)]
        arguments[key] = made if isinstance(item, list) else made[0]
    made = getattr(tf.raw_ops, case.op)(**arguments, **case.attrs, name=name)
    if not isinstance(made, tuple | list):
        made = [made]
    return [item for item in made if hasattr(item, "op")], feeds


def _run(tf: Any, session: Any, fetched: list[Any], feeds: dict[Any, Array]) -> list[Any]:
    whole = [item for item in fetched if item is not None]
    try:
        values = iter(session.run(whole, feeds))
        return [None if item is None else next(values) for item in fetched]
    except tf.errors.OpError:
        return [None if item is None else _alone(tf, session, item, feeds) for item in fetched]


def _alone(tf: Any, session: Any, item: Any, feeds: dict[Any, Array]) -> Any:
    try:
        return session.run(item, feeds)
    except tf.errors.OpError as error:
        return " ".join(error.message.split())[:300]


def flat(case: Case) -> list[tuple[Array, bool]]:
    """Operands in order, and whether each is constant."""
    return [
        (np.asarray(x), key in case.constant) for key, item in case.operands.items() for x in _listed(item)
    ]


def evaluated(case: Case, node: Node) -> list[Array]:
    """Results of our numpy evaluator."""
    from bessemer.runners.tensorflow.registry import evaluators

    made = evaluators()[case.op](node, [array for array, _ in flat(case)])
    return list(made) if isinstance(made, list | tuple) else [np.asarray(made)]


def drawn(
    case: Case, node: Node, rng: np.random.Generator, *, moved: bool, unbound: bool, run: Run | None = None
) -> list[Array]:
    """Results of our graph. run: what executes it, ONNX Runtime unless said. moved: operands stand in axis orders drawn
    at random; unbound: so are dims without a size.

    Raises Unsupported where the graph is declined, AssertionError where a shape that was worked out is wrong.
    """
    from bessemer.sources.tensorflow.registry import readers

    canvas = Canvas([])
    canvas.layer = node.name
    feeds: dict[str, Array] = {}
    inputs, operands, symbols = [], [], {}
    for number, (array, constant) in enumerate(flat(case)):
        if constant or array.dtype.kind == "c":
            operands.append(_pair(canvas, array, number, inputs, feeds) if array.dtype.kind == "c" and not constant
                            else canvas.constant(array, f"c{number}"))  # fmt: skip
            continue
        vector = array.ndim == 1 and array.dtype.kind == "i"  # a shape has a length that every graph knows
        shape = tuple(None if unbound and not vector and rng.random() < 0.4 else dim for dim in array.shape)
        tensor = canvas.input(f"x{number}", shape, _kind(array))
        symbols.update({f"x{number}_{axis}": dim for axis, dim in enumerate(array.shape)})
        inputs.append(canvas.at(tensor))
        feeds[f"x{number}"] = array
        if moved and array.ndim > 1:
            perm = tuple(int(axis) for axis in rng.permutation(array.ndim))
            value = canvas.emit("Transpose", [canvas.at(tensor)], perm=list(perm))
            tensor = canvas.result(value, tensor.shape, perm)
        operands.append(tensor)
    made = readers()[case.op](canvas, node, operands)
    results = [made] if isinstance(made, Ordered) else list(made)
    return _executed(canvas, inputs, feeds, results, symbols, run or _run_onnx)


def _pair(canvas: Canvas, array: Array, number: int, inputs: list[Any], feeds: dict[str, Array]) -> Complex:
    halves = []
    for which, part in (("re", array.real.copy()), ("im", array.imag.copy())):
        name = f"x{number}{which}"
        halves.append(canvas.input(name, part.shape, _kind(part)))
        inputs.append(canvas.at(halves[-1]))
        feeds[name] = part
    return Complex(halves[0], halves[1])


def _kind(array: Array) -> Any:
    import onnx_ir

    return onnx_ir.DataType.from_numpy(array.dtype)


def _executed(
    canvas: Canvas,
    inputs: list[Any],
    feeds: dict[str, Array],
    results: list[Ordered],
    symbols: dict[str, int],
    run: Run,
) -> list[Array]:
    import onnx_ir
    from onnx_ir import serde

    outputs, held = [], []
    for tensor in results:
        parts = [tensor.real, tensor.imag] if isinstance(tensor, Complex) else [tensor]
        for part in parts:
            value = canvas.emit("Identity", [canvas.at(part)], dtype=part.dtype)
            value.name = canvas.unique("result")
            outputs.append(value)
        held.append((tensor, len(parts)))
    model = onnx_ir.Model(canvas.graph(inputs, outputs, "case"), ir_version=11)
    values = iter(run(serde.serialize_model(model), feeds))
    found = []
    for tensor, count in held:
        parts = [next(values) for _ in range(count)]
        made = parts[0] if count == 1 else parts[0] + np.asarray(1j, np.complex64) * parts[1]
        _check_shape(tensor, made, symbols)
        found.append(made)
    return found


def _check_shape(tensor: Ordered, made: Array, symbols: dict[str, int]) -> None:
    assert len(tensor.shape) == made.ndim, f"rank of {tensor} is {made.ndim}"
    for dim, size in zip(tensor.shape, made.shape, strict=True):
        said = symbols.get(dim, size) if isinstance(dim, str) else size if dim is None else dim
        assert said == size, f"{tensor} says {tensor.shape}, it is {made.shape}"


def _typed(array: Any, border: Any) -> Array:
    """The other widths of floats are float32 in a TFLite file."""
    from onnx.helper import tensor_dtype_to_np_dtype

    held = np.asarray(array)
    kind = tensor_dtype_to_np_dtype(border.type.tensor_type.elem_type)
    return held.astype(kind) if held.dtype.kind == kind.kind == "f" else held


def in_litert(folder: Path) -> Run:
    """Runs a graph as a TFLite file in LiteRT. What it returns raises Unsupported where the target declines the graph."""

    def run(model: Any, feeds: dict[str, Array]) -> list[Array]:
        from tests.unit.targets.tflite.conversion import execute, prepare

        path = folder / "case.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            prepared = prepare(path)
        except Declined as refusal:
            raise Unsupported(
                "target", "; ".join(str(item.reason) for item in refusal.blockers)[:200]
            ) from None
        names = {item.name for item in model.graph.input}
        answer = execute(prepared, folder, {name: array for name, array in feeds.items() if name in names})
        return [_typed(answer[item.name], item) for item in model.graph.output]

    return run


def _run_onnx(model: Any, feeds: dict[str, Array]) -> list[Array]:
    """In ONNX Runtime, or where that has no kernel for a type, in the standard's own evaluator."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        from onnx.reference import ReferenceEvaluator

        with np.errstate(all="ignore"):
            return [np.asarray(item) for item in ReferenceEvaluator(model).run(None, feeds)]
    names = {item.name for item in session.get_inputs()}
    return list(session.run(None, {name: array for name, array in feeds.items() if name in names}))


def differences(case: Case, made: list[Array], right: list[Array]) -> str:
    """What is wrong with the results; empty where they are right."""
    if len(made) < len(right):
        return f"{len(made)} results, not {len(right)}"
    for place, (mine, wanted) in enumerate(zip(made, right, strict=False)):
        if case.compared and place not in case.compared:
            continue
        if mine.shape != wanted.shape or mine.dtype != wanted.dtype:
            return f"result {place} is {mine.dtype}{mine.shape}, not {wanted.dtype}{wanted.shape}"
        if wanted.dtype.kind not in "fcV":
            if not np.array_equal(mine, wanted):
                return f"result {place} differs: {mine.reshape(-1)[:8]} is not {wanted.reshape(-1)[:8]}"
            continue
        wide = "complex128" if wanted.dtype.kind == "c" else "float64"
        scale = 300.0 if wanted.dtype.itemsize == 2 else 1.0
        low, high = mine.astype(wide), wanted.astype(wide)
        if not np.allclose(low, high, rtol=case.close[0] * scale, atol=case.close[1] * scale, equal_nan=True):
            with np.errstate(all="ignore"):
                gap = np.nanmax(np.abs(low - high))
            return f"result {place} differs by {gap:.3g}: {low.reshape(-1)[:6]} is not {high.reshape(-1)[:6]}"
    return ""


@dataclass
class Tally:
    """How a set of cases went."""

    cases: int = 0
    operators: set[str] = field(default_factory=set)
    refused_there: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    comparisons: int = 0


WAYS = ("evaluated", "drawn", "moved", "unbound")


def judge(
    cases: Sequence[Case], seed: int, tally: Tally, ways: Sequence[str] = WAYS, run: Run | None = None
) -> Tally:
    """Every case evaluated and drawn, plainly and with orders and dims at random, and compared with TensorFlow."""
    rng = np.random.default_rng(seed)
    for case, answer in zip(cases, answers(cases), strict=True):
        if isinstance(answer, str):
            tally.refused_there.append(f"{case.op}: {answer}")
            continue
        tally.cases += 1
        tally.operators.add(case.op)
        node, right = answer
        for how in ways:
            if how != "evaluated" and not case.drawn:
                continue
            _judged(case, node, right, how, rng, tally, run)
    return tally


def _judged(
    case: Case,
    node: Node,
    right: list[Array],
    how: str,
    rng: np.random.Generator,
    tally: Tally,
    run: Run | None,
) -> None:
    said = f"{case.op} {how} {[(a.shape, a.dtype.str, c) for a, c in flat(case)]} {case.attrs}"
    try:
        if how == "evaluated":
            made = evaluated(case, node)
        else:
            made = drawn(case, node, rng, moved=how != "drawn", unbound=how == "unbound", run=run)
    except Unsupported as problem:
        tally.declined.append(f"{said}: {problem.rule}: {problem.reason}")
        return
    except Exception as error:  # noqa: BLE001  # whatever a wrong graph makes a runtime raise is a finding
        tally.wrong.append(f"{said}: {type(error).__name__}: {str(error)[:300]}")
        return
    tally.comparisons += 1
    wrong = differences(case, made, right)
    if wrong:
        tally.wrong.append(f"{said}: {wrong}")
