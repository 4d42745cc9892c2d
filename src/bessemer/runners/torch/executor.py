"""Execute a canonical graph node by node on tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from bessemer.ir.errors import RuntimeRefused
from bessemer.runners.torch.dtypes import FLOAT8, TORCH, WIDE_UNSIGNED, tensor_of
from bessemer.runners.torch.registry import Call, Tensor, Unsupported, operators

if TYPE_CHECKING:
    import onnx_ir

Act = Callable[["onnx_ir.Value", Tensor], Tensor]
"""What happens to a value once it is computed."""

MOVES = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Concat", "Split", "Expand", "Tile",
    "Cast", "CastLike", "BitCast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Shape", "Size", "If",
    "Loop", "Scan", "SequenceConstruct", "SequenceInsert", "SequenceAt", "BitShift",
})  # fmt: skip
"""Operators that take every stored type as it is: unsigned ones and 8-bit floats need no detour."""


def lacking(graph: onnx_ir.Model) -> list[str]:
    """Operators of a model that there are no functions for, sorted."""
    known = operators()
    found = {
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in graph.graph.all_nodes()
        if node.domain not in ("", "ai.onnx") or node.op_type not in known
    }
    return sorted(found)


class Executor:
    """A graph that is not changed; `act` is applied to every graph input and every node's output.

    constants: tensors of initializers, made at their first use; what is put there (a Parameter, a tensor that depends
    on one) takes the constant's place. Raises RuntimeRefused naming all operators that lack.
    """

    def __init__(self, graph: onnx_ir.Model, act: Act | None = None) -> None:
        missing = lacking(graph)
        if missing:
            raise RuntimeRefused(
                f"The torch executor lacks {len(missing)} of the model's operators: {', '.join(missing)}"
            )
        self.graph, self.act = graph, act
        self.constants: dict[onnx_ir.Value, Tensor] = {}
        self._functions = operators()
        self._last = _last_uses(graph.graph)

    def __call__(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The graph's outputs in their order. Raises RuntimeRefused for a form of an operator that is not executed."""
        known: dict[onnx_ir.Value, Tensor] = {}
        for value in self.graph.graph.inputs:
            if (value.name or "") in inputs:
                known[value] = self._acted(value, inputs[value.name or ""])
        self._walk(self.graph.graph, known, self._last)
        return [self._read(value, known) for value in self.graph.graph.outputs]

    def _walk(
        self,
        graph: onnx_ir.Graph,
        known: dict[onnx_ir.Value, Tensor],
        last: Mapping[onnx_ir.Node, Sequence[onnx_ir.Value]],
    ) -> None:
        for node in graph:
            results = self._compute(node, known)
            for value, result in zip(node.outputs, results, strict=False):
                known[value] = self._acted(value, result)
            for value in last.get(node, ()):
                known.pop(value, None)

    def _compute(self, node: onnx_ir.Node, known: dict[onnx_ir.Value, Tensor]) -> Sequence[Tensor]:
        def run(graph: onnx_ir.Graph, arguments: Sequence[Tensor]) -> list[Tensor]:
            known.update(zip(graph.inputs, arguments, strict=False))
            self._walk(graph, known, {})
            return [self._read(value, known) for value in graph.outputs]

        given = [None if value is None else self._read(value, known) for value in node.inputs]
        try:
            return _answer(self._functions[node.op_type], Call(node, run), given)
        except (Unsupported, RuntimeError, ValueError, TypeError, IndexError) as error:
            said = " ".join(str(error).split())[:300]
            raise RuntimeRefused(f"The torch executor stopped at {node.op_type} '{node.name}'", why=said) from None

    def _read(self, value: onnx_ir.Value, known: Mapping[onnx_ir.Value, Tensor]) -> Tensor:
        if value in known:
            return known[value]
        if value not in self.constants:
            if value.const_value is None:
                raise RuntimeRefused(f"The value '{value.name}' was not given")
            self.constants[value] = tensor_of(value.const_value.numpy())
        return self.constants[value]

    def _acted(self, value: onnx_ir.Value, tensor: Tensor) -> Tensor:
        return tensor if self.act is None else self.act(value, tensor)


def _answer(function: Callable[..., Any], call: Call, given: Sequence[Tensor]) -> Sequence[Tensor]:
    """The function's results; types that torch barely computes in go through wider ones."""
    if call.node.op_type in MOVES:
        return _several(function(call, *given))
    widened = [_widened(item) for item in given]
    results = _several(function(call, *widened))
    narrow = next((a.dtype for a, b in zip(given, widened, strict=True) if a is not b), None)
    if narrow is None:
        return results
    return [_returned(*pair, narrow) for pair in zip(call.node.outputs, results, strict=False)]


def _several(result: Any) -> Sequence[Tensor]:
    return result if isinstance(result, tuple) else (result,)


def _widened(item: Tensor) -> Tensor:
    if not isinstance(item, torch.Tensor):
        return item
    if item.dtype in WIDE_UNSIGNED:
        wide = item.to(torch.int64)
        if item.dtype == torch.uint64 and bool((wide < 0).any()):
            raise Unsupported("it would compute with unsigned integers beyond 63 bits")
        return wide
    return item.to(torch.float32) if item.dtype in FLOAT8 else item


def _returned(value: onnx_ir.Value, result: Tensor, narrow: Any) -> Tensor:
    """A wide result in the type that the graph states, or else in that of the input that was widened."""
    wide = torch.float32 if narrow in FLOAT8 else torch.int64
    if not isinstance(result, torch.Tensor) or result.dtype != wide:
        return result
    declared = TORCH.get(value.dtype.name) if value.dtype is not None else None
    return result.to(declared or narrow)


def _last_uses(graph: onnx_ir.Graph) -> dict[onnx_ir.Node, list[onnx_ir.Value]]:
    """Values that nobody reads after a node, its subgraphs' readings included."""
    last: dict[onnx_ir.Value, onnx_ir.Node] = {}
    for node in graph:
        last.update(dict.fromkeys((value for value in _reads(node) if value is not None), node))
    kept = set(graph.outputs)
    found: dict[onnx_ir.Node, list[onnx_ir.Value]] = {}
    for value, node in last.items():
        if value not in kept:
            found.setdefault(node, []).append(value)
    return found


def _reads(node: onnx_ir.Node) -> list[onnx_ir.Value | None]:
    import onnx_ir

    found = list(node.inputs)
    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            graph = attribute.as_graph()
            found += [value for inner in graph.all_nodes() for value in inner.inputs]
            found += list(graph.outputs)
    return found
