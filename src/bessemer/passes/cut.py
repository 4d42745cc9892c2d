"""Take a part out of a graph: from named values to named values, with the original's own tensors at its borders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import TENSOR_KEY
from bessemer.ir.cut import Cut, Tap, Taps
from bessemer.ir.encoding import Encoding, encoding_of, set_encoding
from bessemer.ir.errors import UsageError
from bessemer.ir.layout import apply, inverse, is_identity
from bessemer.ir.model import Model, tag
from bessemer.ir.signature import TensorSpec
from bessemer.ir.types import Perm, named_dtype
from bessemer.passes.named import Names, inner_graphs, operands, tensor_of

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.passes.shapes import Dims


Described = Callable[[str], TensorSpec | None]
"""Type and shape of a tensor of the original by its name, as the original's runtime knows them; None where it does not."""


def cut(
    model: Model,
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: Mapping[str, Dims] | None = None,
    described: Described | None = None,
) -> Model:
    """The part of `model` between the named values, as a new model; `model` itself stays as it is.

    inputs: all inputs of the part, empty for those of the whole that are still needed; outputs: empty for all of the
    whole. Names are those of values, of the original's tensors, of nodes or layers (their results). A border has the
    type and the axis order of the original's tensor: integers where the file holds integers. shapes: of new inputs
    that shape inference cannot tell; described: whom to ask first.
    Raises UsageError for unknown names, for inputs that would still be needed, and for unknown types or shapes.
    """
    if model.past is not None and model.past.stage == "quantize":
        raise UsageError(
            f"{model.origin.path.name} was quantized as a whole and cannot be cut any more",
            fix="Cut the original, and quantize the part",
        )
    surgery = _Surgery(model, shapes or {}, described or _nobody)
    surgery.place(inputs, outputs)
    whole = model.cut.opened if model.cut is not None else lambda: model
    part = Model(surgery.graph, model.origin, list(model.notes), model.past, Cut(surgery.taps, whole))
    part.notes.append(f"The model is cut {surgery.taps}; what the original computes there is tapped to verify it")
    return part


class _Surgery:
    """One cut on a clone."""

    def __init__(self, model: Model, shapes: Mapping[str, Dims], described: Described) -> None:
        from onnx_ir.passes.common import InlinePass

        self.shapes, self.described = shapes, described
        self.graph = model.graph.clone()
        if self.graph.functions:
            InlinePass()(self.graph)
        self.main = self.graph.graph
        self.names = Names(self.main)
        self.before = frozenset(self.main)
        self.ends = list(self.main.outputs)
        self.taken = {value.name for part in self.graph.graphs() for node in part for value in node.outputs}
        self.taken |= {name for part in self.graph.graphs() for name in part.initializers}
        self.taken |= {value.name for part in self.graph.graphs() for value in part.inputs}
        quantized = model.past is not None and model.past.quantized is not None
        self.integers = not quantized
        held = () if model.cut is None else (*model.cut.taps.inputs, *model.cut.taps.outputs)
        self.earlier = {tap.name: tap for tap in held}
        self._taps: tuple[list[Tap], list[Tap]] = ([], [])

    @property
    def taps(self) -> Taps:
        """The borders, for the record."""
        return Taps(tuple(self._taps[0]), tuple(self._taps[1]), len(self.before.intersection(self.main)), len(self.before))

    def place(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Move the borders and drop what is outside of them."""
        starts = self._found(inputs, "--inputs")
        ends = self._found(outputs, "--outputs") or self.ends
        twice = [value for value in ends if value in starts]
        if outputs and twice:
            raise UsageError(f"'{self.names.shown(twice[0])}' is asked for as an input and as an output of the cut")
        given = [value for value in ends if value.is_graph_input()]
        if outputs and given:
            raise UsageError(f"--outputs names '{given[0].name}', which is an input of the model: nothing computes it")
        ends = [value for value in ends if value not in starts]
        if not ends:
            raise UsageError("Nothing is left between the cut's inputs and its outputs")
        self._know_shapes(starts, ends)
        self._refuse_missing(starts, ends)
        self.main.outputs.clear()
        placed = [self._input(value) for value in starts]
        made = [self._output(value) for value in ends]
        self._trim(placed if inputs else None, made)

    def _found(self, names: Sequence[str], option: str) -> list[onnx_ir.Value]:
        found = (value for name in names for value in self.names.find(name, option))
        return list(dict.fromkeys(found))

    def _know_shapes(self, starts: Sequence[onnx_ir.Value], ends: Sequence[onnx_ir.Value]) -> None:
        """New inputs need a type and a rank, outputs get them: inferred where the file does not say them."""
        from bessemer.passes.shapes import InferShapes

        fresh = [value for value in starts if not value.is_graph_input()]
        if any(value.type is None or value.shape is None for value in (*fresh, *ends)):
            InferShapes().run(self.graph)
        for value in fresh:
            self._check_known(value)

    def _check_known(self, value: onnx_ir.Value) -> None:
        import onnx_ir

        name = self.names.shown(value)
        said = self.shapes.get(name)
        self._describe(value)
        if value.shape is None and said is not None:
            dims = [f"{name}_{axis}" if isinstance(dim, tuple) else dim for axis, dim in enumerate(said)]
            order = _order(value)
            value.shape = onnx_ir.Shape(dims if order is None else apply(order, dims))
        if isinstance(value.type, (onnx_ir.SequenceType, onnx_ir.OptionalType)):
            raise UsageError(f"--inputs names '{name}', which is a sequence or an optional, no tensor")
        if value.type is None or value.dtype is None:
            raise UsageError(
                f"--inputs names '{name}', whose element type is unknown", why="shape inference cannot follow its operator",
                fix="Cut at a value before or behind it",
            )  # fmt: skip
        if value.shape is None:
            raise UsageError(
                f"--inputs names '{name}', whose shape is unknown", why="shape inference cannot follow its operator",
                fix=f"Say it with --shape {name}=DIMS",
            )  # fmt: skip

    def _describe(self, value: onnx_ir.Value) -> None:
        """Ask the original's runtime for what inference does not know: operators of other domains, above all."""
        import onnx_ir

        known = value.dtype is not None and value.shape is not None
        spec = None if known or _order(value) is not None else self.described(tensor_of(value))
        if spec is None or spec.dtype in ("", "sequence", "optional"):
            return
        if value.dtype is None:
            text = spec.dtype == "str"
            kind = onnx_ir.DataType.STRING if text else onnx_ir.DataType.from_numpy(named_dtype(spec.dtype))
            value.type = onnx_ir.TensorType(kind)
        if value.shape is None and spec.shape:  # an empty one may be unknown as well
            value.shape = onnx_ir.Shape(list(spec.shape))

    def _refuse_missing(self, starts: Sequence[onnx_ir.Value], ends: Sequence[onnx_ir.Value]) -> None:
        """All inputs that the outputs would still need, at once."""
        if not starts:
            return
        missing: dict[str, list[str]] = {}
        fed = [value for value in self.main.inputs if value.name not in self.main.initializers and value not in starts]
        for end in ends:
            reached = _reached([end], set(starts))
            for value in fed:
                if value in reached:
                    missing.setdefault(str(value.name), []).append(self.names.shown(end))
        if missing:
            whole = ",".join([*map(self.names.shown, starts), *missing])
            said = "; ".join(f"'{name}' for {', '.join(ends)}" for name, ends in missing.items())
            raise UsageError(
                f"The cut would still need {'an input' if len(missing) == 1 else 'inputs'} that --inputs does not name",
                why=said, fix=f"Say --inputs {whole}, or choose the outputs with --outputs",
            )  # fmt: skip

    def _input(self, value: onnx_ir.Value) -> onnx_ir.Value:
        """A graph input in the original's type and order where `value` was; its readers read that."""
        import onnx_ir

        if value.is_graph_input():
            self._taps[0].append(self._tap(value, str(value.name)))
            return value
        tensor, order, held = tensor_of(value), _order(value), self._encoding(value)
        fresh = onnx_ir.Value(
            name=self._freed(tensor, value),
            shape=onnx_ir.Shape(_own(value, order)),
            type=onnx_ir.TensorType(_kind(value, held)),
        )
        if TENSOR_KEY in value.meta:
            fresh.meta[TENSOR_KEY] = (tensor, tuple(range(len(_own(value, order)))))
        inner = fresh if held is None else self._linear("DequantizeLinear", fresh, _placed(held, order), value.dtype)
        inner = inner if order is None else self._transposed(inner, order, value)
        if encoding_of(inner) is None:
            set_encoding(inner, encoding_of(value))
        onnx_ir.convenience.replace_all_uses_with(value, inner)
        self._taps[0].append(self._tap(value, str(fresh.name), tensor))
        return fresh

    def _output(self, value: onnx_ir.Value) -> onnx_ir.Value:
        """A graph output in the original's type and order."""
        if value in self.ends:
            self._taps[1].append(self._tap(value, str(value.name)))
            return value
        tensor, order, held = tensor_of(value), _order(value), self._encoding(value)
        name = self._freed(tensor, value)
        inner = value if order is None else self._transposed(value, inverse(order), value)
        if held is not None:
            inner = self._linear("QuantizeLinear", inner, _placed(held, order), None)
        inner.name = name
        if TENSOR_KEY in value.meta:
            inner.meta[TENSOR_KEY] = (tensor, tuple(range(len(value.shape or ()))))
        self._taps[1].append(self._tap(value, name, tensor))
        return inner

    def _tap(self, value: onnx_ir.Value, name: str, tensor: str = "") -> Tap:
        """Borders that an earlier cut made keep what it knew of them."""
        return self.earlier.get(str(value.name)) or Tap(name, tensor or tensor_of(value))

    def _freed(self, name: str, value: onnx_ir.Value) -> str:
        """`name` for a border in the place of `value`, which gives it up; another where someone else has it."""
        if value.name == name:
            value.name = self._unique(f"{name}_inner")
            return name
        return self._unique(name)

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.taken:
            count += 1
            candidate = f"{name}_{count}"
        self.taken.add(candidate)
        return candidate

    def _encoding(self, value: onnx_ir.Value) -> Encoding | None:
        """Of a tensor that the file itself holds in integers."""
        return encoding_of(value) if self.integers and TENSOR_KEY in value.meta else None

    def _linear(self, op: str, value: onnx_ir.Value, held: Encoding, kind: object) -> onnx_ir.Value:
        """Integers to reals or back, at the border."""
        import onnx_ir

        from bessemer.passes.rewrite import make_constant

        zero = np.asarray(held.zero_point).astype(named_dtype(held.dtype.lower()))
        operands = [make_constant(self.main, np.asarray(held.scale), self._unique(f"{value.name}_scale")),
                    make_constant(self.main, zero, self._unique(f"{value.name}_zero_point"))]  # fmt: skip
        axis = {} if held.axis is None else {"axis": held.axis}
        made = self._emit(op, [value, *operands], axis, value.shape)
        made.type = onnx_ir.TensorType(kind or onnx_ir.DataType[held.dtype])  # type: ignore[arg-type]
        if op == "DequantizeLinear":
            made.meta[TENSOR_KEY] = value.meta[TENSOR_KEY]
            set_encoding(made, held)
        return made

    def _transposed(self, value: onnx_ir.Value, perm: Perm, like: onnx_ir.Value) -> onnx_ir.Value:
        import onnx_ir

        dims = None if value.shape is None else onnx_ir.Shape(apply(perm, value.shape.dims))
        made = self._emit("Transpose", [value], {"perm": list(perm)}, dims)
        made.type = value.type
        held = encoding_of(value)
        set_encoding(made, None if held is None else held.permuted(perm))
        return made

    def _emit(
        self, op: str, inputs: Sequence[onnx_ir.Value], attributes: dict[str, Any], shape: onnx_ir.Shape | None
    ) -> onnx_ir.Value:
        import onnx_ir

        made = onnx_ir.Value(name=self._unique(f"{inputs[0].name}/{op}"), shape=shape)
        node = onnx_ir.node(op, inputs, attributes=attributes, outputs=[made])
        node.name = made.name
        self.main.append(tag(node, str(inputs[0].name)))
        return made

    def _trim(self, placed: Sequence[onnx_ir.Value] | None, made: Sequence[onnx_ir.Value]) -> None:
        """Only the borders, and what leads from one to the other."""
        from onnx_ir.passes import common

        self.main.outputs.extend(made)
        reached = _reached(made, set())
        kept = [value for value in self.main.inputs if value in reached] if placed is None else list(placed)
        idle = [value for value in kept if value not in reached]
        if idle:
            names = ", ".join(f"'{value.name}'" for value in idle)
            raise UsageError(f"--inputs names {names}, on which no output of the cut depends", fix="Leave it out")
        if placed is None:
            fed = [value for value in kept if value.name not in self.main.initializers]
            self._taps[0].extend(self._tap(value, str(value.name)) for value in fed)
        common.TopologicalSortPass()(self.graph)
        self._drop({value.producer() for value in reached})
        self.main.inputs.clear()
        self.main.inputs.extend(kept)
        common.RemoveUnusedNodesPass()(self.graph)  # constants, those that were inputs too

    def _drop(self, live: set[onnx_ir.Node | None]) -> None:
        """Nodes outside of the part; what their branches read from around them is let go first."""
        for node in reversed(list(self.main)):
            if node in live:
                continue
            for graph in inner_graphs(node):
                for inner in graph.all_nodes():
                    for place in range(len(inner.inputs)):
                        inner.replace_input_with(place, None)
            self.main.remove(node, safe=True)


def _nobody(_: str) -> TensorSpec | None:
    return None


def _reached(ends: Iterable[onnx_ir.Value], starts: set[onnx_ir.Value]) -> set[onnx_ir.Value]:
    """All that `ends` are computed from, without what lies before `starts`."""
    pending, seen = list(ends), set[Any]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is not None and value not in starts:
            pending.extend(operands(node))
    return seen


def _order(value: onnx_ir.Value) -> Perm | None:
    """The permutation from the original's tensor to the value; None where it moves nothing."""
    held = value.meta.get(TENSOR_KEY)
    return None if held is None or is_identity(tuple(held[1])) else tuple(held[1])


def _own(value: onnx_ir.Value, order: Perm | None) -> tuple[Any, ...]:
    """Dims in the original's order."""
    dims = tuple(value.shape or ())
    return dims if order is None else apply(inverse(order), dims)


def _kind(value: onnx_ir.Value, held: Encoding | None) -> onnx_ir.DataType:
    import onnx_ir

    return onnx_ir.DataType[held.dtype] if held is not None else value.dtype or onnx_ir.DataType.FLOAT


def _placed(held: Encoding, order: Perm | None) -> Encoding:
    """The encoding of the tensor in the original's order."""
    return held if order is None else held.permuted(inverse(order))
