"""TensorFlow files executed: by TensorFlow where it is installed, or by the reference evaluator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import MissingExtra, RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.runners.base import Runner
from bessemer.runners.tensorflow.interpreter import Interpreter
from bessemer.runners.tensorflow.loading import NO_ENDS, Ends, is_saved_model, load, meta_of
from bessemer.runners.tensorflow.program import Border, Program


def of(path: Path, signature: str | None, original: str, ends: Ends = NO_ENDS) -> Runner:
    """The runner that is asked for: 'runtime', 'reference', or the first of the two that is there ('auto').

    Raises MissingExtra, UnreadableInput, UsageError.
    """
    program = load(path, signature, ends)
    if original == "reference" or (original == "auto" and find_spec("tensorflow") is None):
        return ReferenceRunner(program)
    return TensorFlowRunner(path, program)


def signature_of(program: Program) -> Signature:
    """Inputs and outputs as the file states them; a type or a rank that it does not state is left open."""
    return Signature(tuple(map(_spec, program.inputs)), tuple(map(_spec, program.outputs)))


def _spec(border: Border) -> TensorSpec:
    kind = "float32" if border.dtype is None else "str" if border.dtype.kind == "O" else border.dtype.name
    return TensorSpec(border.name, kind, border.shape or ())


def fed(program: Program, inputs: Mapping[str, Array]) -> list[Any]:
    """Values of the inputs in order and of the stated types. Raises UsageError for one that is missing."""
    missing = [border.name for border in program.inputs if border.name not in inputs]
    if missing:
        raise UsageError(f"The model needs the input '{missing[0]}'")
    return [_typed(inputs[border.name], border.dtype) for border in program.inputs]


def _typed(value: Any, dtype: Any) -> Any:
    array = np.asarray(value)
    if dtype is None or dtype.kind != "O":
        return array.astype(dtype, copy=False) if dtype is not None else array
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    made = np.empty(len(flat), object)
    made[:] = flat
    return made.reshape(array.shape)


class ReferenceRunner:
    """The program in numpy."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._interpreter = Interpreter(program)
        self.signature = signature_of(program)
        self.runtime = "TensorFlow reference evaluator of Bessemer (numpy)"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        made = self._interpreter.call(self._program.body, fed(self._program, inputs))
        return {border.name: np.asarray(value) for border, value in zip(self._program.outputs, made, strict=True)}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Values of refs, functions that are called among them."""
        wanted = set(names)
        found: dict[str, Array] = {}
        watch = Interpreter(self._program, watched=wanted, seen=found)
        watch.call(self._program.body, fed(self._program, inputs))
        return found


class TensorFlowRunner:
    """The same graph in a session of TensorFlow; variables get their values from the checkpoint."""

    def __init__(self, path: Path, program: Program) -> None:
        self._tf = _tensorflow()
        self._program, self._path = program, path
        self.signature = signature_of(program)
        self.runtime = f"TensorFlow {self._tf.__version__}"
        self._graph, self._session = self._started(path)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        refs = [_full(border.ref) for border in self._program.outputs]
        return dict(zip([border.name for border in self._program.outputs], self._fetch(inputs, refs), strict=True))

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Results of nodes of the main graph; those inside functions are not to be had."""
        known = {node.name for node in self._graph.get_operations()}
        refs = [name for name in names if name.split(":")[0] in known]
        return dict(zip(refs, self._fetch(inputs, [_full(name) for name in refs]), strict=True)) if refs else {}

    def _fetch(self, inputs: Mapping[str, Array], refs: Sequence[str]) -> list[Array]:
        values = fed(self._program, inputs)
        feeds = {_full(border.ref): value for border, value in zip(self._program.inputs, values, strict=True)}
        try:
            return [np.asarray(value) for value in self._session.run(list(refs), feeds)]
        except self._tf.errors.OpError as error:
            raise RuntimeRefused(f"TensorFlow refuses to run {self._path.name}", why=str(error)[:400]) from None
        except (ValueError, TypeError) as error:
            raise UsageError(f"TensorFlow does not take these inputs for {self._path.name}", why=str(error)[:400]) from None

    def _started(self, path: Path) -> tuple[Any, Any]:
        """A session with the file's graph, its variables restored as TensorFlow restores them."""
        v1 = self._tf.compat.v1
        graph = self._tf.Graph()
        with graph.as_default():
            session = v1.Session(graph=graph)
            try:
                if path.is_dir() or (path.suffix != ".meta" and is_saved_model(path)):
                    folder = path if path.is_dir() else path.parent
                    v1.saved_model.loader.load(session, list(meta_of(path).tags), str(folder))
                elif path.suffix == ".meta":
                    v1.train.import_meta_graph(str(path)).restore(session, str(path.with_suffix("")))
                else:
                    definition = v1.GraphDef()
                    definition.ParseFromString(path.read_bytes())
                    self._tf.import_graph_def(definition, name="")
            except (self._tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
                raise RuntimeRefused(f"TensorFlow refuses {path.name}", why=str(error)[:400]) from None
        return graph, session


def _full(ref: str) -> str:
    return ref if ":" in ref else f"{ref}:0"


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its product fused with Gelu is wrong by 2e-3
    try:
        import tensorflow as tf
    except ImportError:
        needed = "Running the original in TensorFlow"
        raise MissingExtra("tensorflow-cpu", extra="tensorflow", needed_for=needed) from None
    return tf
