"""Indices between records: every one must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable

from bessemer.wire.errors import WireError
from bessemer.wire.tflite.records import Model, SubGraph


def check_indices(model: Model) -> None:
    """Raise WireError naming the first index that leads nowhere."""
    for number, graph in enumerate(model.subgraphs):
        _check_graph(model, graph, f"SubGraph {number}")
    for metadata in model.metadata:
        _inside([metadata.buffer], len(model.buffers), f"Metadata {metadata.name!r}.buffer")
    for signature in model.signature_defs:
        where = f"SignatureDef {signature.signature_key!r}"
        _inside([signature.subgraph_index], len(model.subgraphs), f"{where}.subgraph_index")
        count = len(model.subgraphs[signature.subgraph_index].tensors)
        _inside([m.tensor_index for m in signature.inputs], count, f"{where}.inputs")
        _inside([m.tensor_index for m in signature.outputs], count, f"{where}.outputs")


def _check_graph(model: Model, graph: SubGraph, where: str) -> None:
    count = len(graph.tensors)
    _inside((t.buffer for t in graph.tensors), len(model.buffers), f"{where} Tensor.buffer")
    _inside(graph.inputs, count, f"{where}.inputs")
    _inside(graph.outputs, count, f"{where}.outputs")
    codes = (o.opcode_index for o in graph.operators)
    _inside(codes, len(model.operator_codes), f"{where} Operator.opcode_index")
    for number, operator in enumerate(graph.operators):
        place = f"{where} Operator {number}"
        _inside(operator.inputs, count, f"{place}.inputs", low=-1)
        _inside(operator.outputs, count, f"{place}.outputs", low=-1)
        _inside(operator.intermediates or (), count, f"{place}.intermediates", low=-1)


def _inside(indices: Iterable[int], count: int, where: str, low: int = 0) -> None:
    for index in indices:
        if not low <= index < count:
            raise WireError(f"index {index} of {count}", where=where)
