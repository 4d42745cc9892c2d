"""The ONNX standard's own reference evaluator as a Runner: slow, complete, and the last word on semantics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import RuntimeRefused
from bessemer.ir.signature import Signature, spec_of
from bessemer.ir.types import Array


class ReferenceRunner:
    """Evaluates node by node in numpy."""

    def __init__(self, path: Path) -> None:
        import onnx
        import onnx_ir
        from onnx.reference import ReferenceEvaluator

        self._path = path
        proto = onnx.load(path)
        self.runtime = f"ONNX reference evaluator {onnx.__version__}"
        graph = onnx_ir.serde.deserialize_model(proto).graph
        fed = [value for value in graph.inputs if value.name not in graph.initializers]
        self.signature = Signature(tuple(map(spec_of, fed)), tuple(map(spec_of, graph.outputs)))
        try:
            self._evaluator = ReferenceEvaluator(proto)
        except (RuntimeError, NotImplementedError, TypeError, ValueError, KeyError) as error:
            raise RuntimeRefused(
                f"The reference evaluator refuses {path.name}", why=str(error)[:400]
            ) from None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        names = [spec.name for spec in self.signature.outputs]
        return self._run(inputs, names)

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values: the evaluator keeps them all."""
        found = self._run(inputs, list(dict.fromkeys(names)), intermediate=True)
        return {name: found[name] for name in names if name in found}

    def _run(
        self, inputs: Mapping[str, Array], names: list[str], *, intermediate: bool = False
    ) -> dict[str, Any]:
        fed = {spec.name: inputs[spec.name] for spec in self.signature.inputs if spec.name in inputs}
        try:
            with np.errstate(all="ignore"):
                answer = self._evaluator.run(None if intermediate else names, fed, intermediate=intermediate)
        except Exception as error:  # noqa: BLE001  # numpy code of 200 operators raises anything
            raise RuntimeRefused(
                f"The reference evaluator stopped on {self._path.name}", why=str(error)[:400]
            ) from None
        if intermediate:
            return dict(answer)
        optional = {spec.name for spec in self.signature.outputs if spec.dtype == "optional"}
        pairs = zip(names, answer, strict=True)
        return {name: _unwrapped(value) if name in optional else value for name, value in pairs}


def _unwrapped(value: Any) -> Any:
    """The evaluator hands an If's optional sequence out inside a list of its own."""
    inside = isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)
    return value[0] if inside else value


def of_file(path: str) -> ReferenceRunner:
    """The evaluator on a file, for a child process."""
    return ReferenceRunner(Path(path))


class StandardRunner:
    """ONNX Runtime where it can execute a file, else the standard's reference evaluator; `runtime` says which."""

    def __init__(self, path: Path, *, optimize: bool = False, beside: int = 0) -> None:
        """beside: bytes of weights in files of their own."""
        from bessemer.runners.onnxruntime import LARGE, OrtRunner

        self._path = path
        self._reference: ReferenceRunner | None = None
        try:
            self._runner: OrtRunner | ReferenceRunner = OrtRunner(
                path, optimize=optimize, large=beside >= LARGE
            )
        except RuntimeRefused as refusal:
            with _both_refuse(refusal):
                self._runner = self.reference()

    def reference(self) -> ReferenceRunner:
        """The evaluator on the same file."""
        if self._reference is None:
            self._reference = ReferenceRunner(self._path)
        return self._reference

    @property
    def runtime(self) -> str:
        """What executed the last run."""
        return self._runner.runtime

    @property
    def signature(self) -> Signature:
        """Inputs and outputs."""
        return self._runner.signature

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; a kernel that ONNX Runtime lacks at run time moves the model to the evaluator."""
        try:
            return self._runner.run(inputs)
        except RuntimeRefused as refusal:
            if self._runner is self._reference:
                raise
            with _both_refuse(refusal):
                answer = self.reference().run(inputs)
            self._runner = self.reference()
            return answer

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values."""
        return self._runner.tap(inputs, names)


@contextmanager
def _both_refuse(first: RuntimeRefused) -> Iterator[None]:
    """Where the evaluator refuses too, ONNX Runtime's reason is the one to read first."""
    try:
        yield
    except RuntimeRefused as second:
        raise RuntimeRefused(first.what, why=f"{first.why}. {second}") from None
