"""A TFLite file without what a part of it does not need, in LiteRT: for files that it refuses as a whole."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.errors import RuntimeRefused
from bessemer.runners.litert import LiteRTRunner
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Model, SubGraph


def runner(path: Path, options: OpenOptions, tensors: Sequence[str]) -> LiteRTRunner:
    """The file's own operators that lead to `tensors`, and no others. Raises RuntimeRefused."""
    from bessemer.sources.tflite import parse
    from bessemer.wire.tflite.writer import write

    file = parse(path)
    subgraph = file.subgraphs[0]
    ends = [index for index, item in enumerate(subgraph.tensors) if item.name in set(tensors)]
    made = [index for index in ends if any(index in operator.outputs for operator in subgraph.operators)]
    if not made:
        raise RuntimeRefused(f"No operator of {path.name} makes what the cut asks for")
    _end_at(file, subgraph, made)
    folder = tempfile.TemporaryDirectory(prefix="bessemer-part-")
    place = Path(folder.name) / path.name
    write(file, place)
    found = LiteRTRunner(place, options.signature)
    weakref.finalize(found, folder.cleanup)
    found.runtime += ", up to the cut"
    return found


def _end_at(file: Model, subgraph: SubGraph, ends: Sequence[int]) -> None:
    """Operators that `ends` do not need are gone, and other outputs."""
    needed, kept = set(ends), []
    for operator in reversed(subgraph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            kept.append(operator)
    subgraph.operators = kept[::-1]
    subgraph.outputs = tuple(ends)
    for signature in file.signature_defs or []:
        if signature.subgraph_index == 0:
            signature.outputs = [
                type(signature.inputs[0])(name=subgraph.tensors[index].name, tensor_index=index) for index in ends
            ] if signature.inputs else []  # fmt: skip
