"""TensorFlow graphs: SavedModels, frozen GraphDefs and checkpoints, read without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Declined, UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.ir.unread import Unread
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.runners.base import Runner
    from bessemer.runners.tensorflow.loading import Ends
    from bessemer.runners.tensorflow.program import Border, Program
    from bessemer.sources.drawing import Canvas, Ordered
    from bessemer.sources.tensorflow.values import Value


class TensorFlowSource:
    """Reads SavedModels, .pb and .meta; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`. Raises UnreadableInput, UsageError, and Declined with every operator that has no reading."""
        from bessemer.runners.tensorflow.loading import load
        from bessemer.wire.errors import WireError

        program = load(path, options.signature, ends_of(options))
        try:
            return build(program, path, options)
        except WireError as error:
            raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None
        except (IndexError, KeyError, OverflowError, MemoryError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UnreadableInput(
                f"{path} is broken or hostile", why=f"its records contradict each other ({why})"
            ) from None

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """TensorFlow where it is installed, else the reference evaluator; `options.original` decides."""
        from bessemer.runners.tensorflow import runner

        return runner.of(path, options.signature, options.original, ends_of(options))


def ends_of(options: OpenOptions) -> Ends:
    """Where a graph without signatures begins and ends. A beginning of unstated shape is left to the cut behind reading,
    which knows the shape from what stands before it."""
    from bessemer.runners.tensorflow.loading import Ends

    stated = all(name in options.shapes for name in options.inputs)
    return Ends(options.inputs if stated else (), options.outputs)


def build(program: Program, path: Path, options: OpenOptions) -> Model:
    """The canonical graph of a program."""
    import onnx_ir

    from bessemer.sources.drawing import Canvas, Unsupported
    from bessemer.sources.tensorflow.reading import Reading

    notes: list[str] = []
    canvas = Canvas(notes)
    reading = Reading(program, notes)
    shapes = stated_shapes(program, path, options)
    inputs = [read_input(canvas, border, shapes.get(border.name)) for border in program.inputs]
    try:
        results = reading.run(canvas, reading.structured(program.body), inputs, "")
    except Unsupported as problem:
        canvas.block("graph", problem)
        raise Declined(f"Reading {path.name}: ONNX", canvas.blockers) from None
    known = len(canvas.blockers)
    reading.refuse_state(canvas)
    if len(canvas.blockers) > known:  # a state belongs to no node that a cut could leave out
        raise Declined(f"Reading {path.name}: ONNX", canvas.blockers)
    outputs = read_outputs(canvas, program, results)
    borders = [tensor.orders[tensor.made] for tensor in inputs]
    graph = canvas.graph(borders, outputs, path.stem or "tensorflow")
    model = onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")
    read = Model(model, Origin("tensorflow", path, dict(program.details)), notes)
    if canvas.blockers:
        raise Unread(f"Reading {path.name}: ONNX", canvas.blockers, read)
    return read


def stated_shapes(program: Program, path: Path, options: OpenOptions) -> dict[str, tuple[int | str | None, ...]]:
    """Dims of inputs, the user's where they say more. Raises UsageError for an input whose rank nobody says."""
    found: dict[str, tuple[int | str | None, ...]] = {}
    for border in program.inputs:
        stated = options.shapes.get(border.name)
        held = border.shape
        if held is None and stated is None:
            raise UsageError(
                f"{path} does not say how many axes its input '{border.name}' has",
                fix=f"Say its shape with --shape {border.name}=1x224x224x3 (the dims that the model wants)",
            )
        if held is None or (stated is not None and len(held) == len(stated)):
            said = stated or ()
            base = held if held is not None else (None,) * len(said)
            found[border.name] = tuple(
                dim if isinstance(dim, int) else want if isinstance(want, int | str) else None
                for dim, want in zip(base, said, strict=True)
            )
        else:
            found[border.name] = held
    return found


def read_input(canvas: Canvas, border: Border, shape: tuple[int | str | None, ...] | None) -> Ordered:
    """A graph input in the file's own order and type."""
    import numpy as np
    import onnx_ir

    if border.dtype is None or border.dtype == np.dtype(np.void):
        raise UsageError(f"The input '{border.name}' is no tensor")
    string = border.dtype.kind == "O"
    kind = onnx_ir.DataType.STRING if string else onnx_ir.DataType.from_numpy(border.dtype)
    return canvas.input(border.name, shape or (), kind)


def read_outputs(canvas: Canvas, program: Program, results: list[Value]) -> list[onnx_ir.Value]:
    """All graph outputs, in the file's own order, under their public names."""
    from bessemer.sources.drawing import Ordered, Unsupported

    made: list[Any] = []
    known = list(canvas.blockers)
    for border, result in zip(program.outputs, results, strict=True):
        canvas.layer = border.name
        try:
            if not isinstance(result, Ordered):
                raise Unsupported("output", f"the output '{border.name}' is no tensor")
            made.append(_output(canvas, result, border.name, made))
        except Unsupported as problem:
            made += canvas.stand_in("output", problem, [], because=known)
    return made


def _output(canvas: Canvas, tensor: Ordered, name: str, made: list[Any]) -> onnx_ir.Value:
    from bessemer.sources.drawing import TENSOR_KEY

    value = canvas.at(tensor)
    if value.producer() is None or any(value is other for other in made):
        value = canvas.emit("Identity", [value], shape=tensor.shape, dtype=tensor.dtype)
    for other in (v for node in canvas.nodes for v in node.outputs if v.name == name and v is not value):
        other.name = canvas.unique(f"{name}_inner")
    kept = value.meta.get(TENSOR_KEY, (name, None))[0]
    value.name = name
    value.meta[TENSOR_KEY] = (kept, tuple(range(tensor.rank)))
    return value


SOURCE = TensorFlowSource()
