"""The executor as a `Runner` on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.errors import MissingExtra, RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, signature_of
from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir


def load_torch(needed_for: str = "Training") -> Any:
    """The torch module; raises MissingExtra."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", extra="train", needed_for=needed_for) from None
    return torch


def lacks(node: onnx_ir.Node) -> bool:
    """Whether the executor has no function for an operator."""
    from bessemer.runners.torch.registry import operators

    return node.domain not in ("", "ai.onnx") or node.op_type not in operators()


class TorchRunner:
    """Executes a canonical graph in torch on the CPU, without gradients. Raises MissingExtra, RuntimeRefused."""

    def __init__(self, graph: onnx_ir.Model) -> None:
        torch = load_torch("Executing a graph in torch")
        from bessemer.runners.torch.executor import Executor

        self.runtime = f"torch {torch.__version__}"
        self.signature: Signature = signature_of(graph.graph)
        self._executor, self._torch = Executor(graph), torch

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name. Raises UsageError for an input that is missing."""
        return self._run(inputs, ())

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values of the main graph by name."""
        found = self._run(inputs, names)
        return {name: found[name] for name in names if name in found}

    def _run(self, inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        graph = self._executor.graph.graph
        missing = [
            value.name for value in graph.inputs if value.name not in inputs and value.const_value is None
        ]
        if missing:
            raise UsageError(f"The inputs {', '.join(map(str, missing))} are not given")
        seen: dict[str, Any] = {}

        def keep(value: onnx_ir.Value, tensor: Any) -> Any:
            if value.name in wanted:
                seen[value.name] = tensor
            return tensor

        wanted = set(names)
        self._executor.act = keep if names else None
        with self._torch.no_grad():
            results = self._executor({name: _fed(name, array) for name, array in inputs.items()})
        kinds = {value.name or "": _kind(value) for node in graph for value in node.outputs}
        found = {name: _array(tensor, kinds.get(name, "")) for name, tensor in seen.items()}
        if names:
            return found
        pairs = zip(graph.outputs, results, strict=True)
        return {value.name or "": _array(result, _kind(value)) for value, result in pairs}


def _kind(value: onnx_ir.Value) -> str:
    return "" if value.dtype is None else str(value.dtype.name)


def _fed(name: str, item: Any) -> Any:
    from bessemer.runners.torch.registry import Unsupported

    try:
        return _tensor(item)
    except Unsupported as error:
        raise RuntimeRefused(f"The torch executor cannot take the input '{name}'", why=str(error)) from None


def _tensor(item: Any) -> Any:
    from bessemer.runners.torch.dtypes import tensor_of

    if isinstance(item, (list, tuple)):
        return [_tensor(inner) for inner in item]
    return None if item is None else tensor_of(np.asarray(item))


def _array(item: Any, kind: str) -> Any:
    from bessemer.runners.torch.dtypes import array_of

    if isinstance(item, (list, tuple)):
        return [_array(inner, kind) for inner in item]
    return None if item is None else array_of(item, kind)
