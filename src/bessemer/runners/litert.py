"""LiteRT as a Runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import MissingExtra, RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array


def load_runtime() -> Any:
    """The interpreter module; raises MissingExtra."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        raise MissingExtra("ai-edge-litert", extra="tflite", needed_for="Running TFLite models") from None
    return interpreter


class LiteRTRunner:
    """An interpreter on the CPU with its default delegate.

    signature_key: which signature to run; None takes the first, or the main graph where the file has none.
    threads: 0 leaves the number to the runtime.
    reference_kernels: the plain kernels, without a delegate.
    """

    def __init__(
        self,
        path: Path,
        signature_key: str | None = None,
        *,
        threads: int = 0,
        reference_kernels: bool = False,
    ) -> None:
        self._module = load_runtime()
        self._path, self._threads = path, threads or None
        self._reference = reference_kernels
        self.runtime = f"LiteRT {version('ai-edge-litert')}"
        self._plain = self._interpreter()
        keys = list(self._plain.get_signature_list())
        if signature_key is not None and signature_key not in keys:
            raise UsageError(
                f"{path.name} has no signature '{signature_key}'", fix=f"It has: {', '.join(keys) or 'none'}"
            )
        self._key = signature_key or (keys[0] if keys else None)
        self._inputs, self._outputs = self._borders(self._plain)
        self.signature = Signature(
            tuple(_spec(name, detail) for name, detail in self._inputs.items()),
            tuple(_spec(name, detail) for name, detail in self._outputs.items()),
        )

    def allocate(self) -> None:
        """Set all tensors up without running. Raises RuntimeRefused."""
        try:
            self._plain.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RuntimeRefused(f"LiteRT refuses {self._path.name}", why=str(error)[:400]) from None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        if self._apart:
            return self._run_apart(inputs)
        self._invoke(self._plain, inputs)
        _, outputs = self._borders(self._plain)
        return {name: self._read(self._plain, detail) for name, detail in outputs.items()}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Tensors of the main graph by name, from an interpreter that keeps them all."""
        if self._apart:
            return {}
        interpreter = self._interpreter(experimental_preserve_all_tensors=True)
        self._invoke(interpreter, inputs)
        wanted = set(names)
        details = {item["name"]: item for item in interpreter.get_tensor_details() if item["name"] in wanted}
        return {name: self._read(interpreter, detail) for name, detail in details.items()}

    def _interpreter(self, **options: Any) -> Any:
        if self._reference:
            options["experimental_op_resolver_type"] = self._module.OpResolverType.BUILTIN_REF
        try:
            return self._module.Interpreter(model_path=str(self._path), num_threads=self._threads, **options)
        except (ValueError, RuntimeError) as error:
            raise RuntimeRefused(f"LiteRT refuses {self._path.name}", why=str(error)[:400]) from None

    def _borders(self, interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._key is None:
            return (
                {item["name"]: item for item in interpreter.get_input_details()},
                {item["name"]: item for item in interpreter.get_output_details()},
            )
        runner = interpreter.get_signature_runner(self._key)
        return dict(runner.get_input_details()), dict(runner.get_output_details())

    @property
    def _apart(self) -> bool:
        """Whether the signature runs another subgraph than the main one, where only its own runner may reach."""
        return self._key is not None and self._plain.get_signature_runner(self._key)._subgraph_index != 0

    def _run_apart(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            self._plain.reset_all_variables()
            fed = {name: np.asarray(inputs[name], detail["dtype"]) for name, detail in self._inputs.items()}
            answer = self._plain.get_signature_runner(self._key)(**fed)
        except (ValueError, RuntimeError) as error:
            raise RuntimeRefused(f"LiteRT refuses to run {self._path.name}", why=str(error)[:400]) from None
        except KeyError as error:
            raise UsageError(f"The model needs the input {error}") from None
        return {name: np.asarray(answer[name]) for name in self._outputs}

    def _invoke(self, interpreter: Any, inputs: Mapping[str, Array]) -> None:
        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        try:
            for name, detail in self._inputs.items():
                shape = np.shape(inputs[name])
                interpreter.resize_tensor_input(detail["index"], shape, strict=False)
            interpreter.allocate_tensors()
            interpreter.reset_all_variables()
            for name, detail in self._inputs.items():
                interpreter.set_tensor(detail["index"], np.asarray(inputs[name], dtype=detail["dtype"]))
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise RuntimeRefused(f"LiteRT refuses to run {self._path.name}", why=str(error)[:400]) from None

    def _read(self, interpreter: Any, detail: Any) -> Array:
        shape = interpreter._get_tensor_details(detail["index"], 0)[
            "shape"
        ]  # the public list is from before the run
        if 0 in shape:
            return np.empty(shape, detail["dtype"])  # get_tensor refuses tensors without elements
        try:
            return np.asarray(interpreter.get_tensor(detail["index"]))
        except (ValueError, RuntimeError) as error:
            raise RuntimeRefused(
                f"LiteRT gives no value for '{detail['name']}'", why=str(error)[:400]
            ) from None


def _spec(name: str, detail: Any) -> TensorSpec:
    dims = [int(dim) for dim in detail["shape_signature"]]
    if len(dims) != len(detail["shape"]):
        dims = [int(dim) for dim in detail["shape"]]
    kind = "str" if detail["dtype"] in (np.bytes_, np.str_, np.object_) else np.dtype(detail["dtype"]).name
    return TensorSpec(name, kind, tuple(None if dim < 0 else dim for dim in dims))
