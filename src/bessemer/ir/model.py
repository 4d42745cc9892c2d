"""`Model`: a canonical graph, where it came from, and what the report must say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.canonical import LAYER_KEY
from bessemer.ir.cut import Cut
from bessemer.ir.signature import Signature, signature_of

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Origin:
    """The file a model came from.

    format: name of the source ('onnx', 'tflite').
    path: the file as the user gave it.
    details: what `inspect` shows beyond the graph (producer, opset, signatures, ...).
    """

    format: str
    path: Path
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Past:
    """What happened to a model before it was saved as `.bsm`.

    stage: the last stage that is done, 'open' | 'normalise' | 'rewrite' | 'quantize'; operators: counts as it was first
    read; passes: records of the passes that ran; quantized: precision, record and notes of the stage `quantize`.
    """

    stage: str
    operators: dict[str, int]
    passes: tuple[Any, ...]
    quantized: Any = None


@dataclass
class Model:
    """A computation graph with its weights, in canonical form after `normalise`.

    graph: the `onnx_ir.Model`; its inputs and outputs keep the source's names, order, types and axis order.
    notes: sentences the report must show (a changed type, a state reset, ...).
    past: stages that are done already; None for a model that was just read.
    cut: what part of the original the graph is; None for all of it.
    companions: files that are placed beside every artifact (tokenizers, preprocessors), from the source's directory.
    """

    graph: onnx_ir.Model
    origin: Origin
    notes: list[str] = field(default_factory=list)
    past: Past | None = None
    cut: Cut | None = None
    companions: tuple[Path, ...] = ()

    @property
    def signature(self) -> Signature:
        """What a caller feeds and gets."""
        return signature_of(self.graph.graph)


def tag(node: onnx_ir.Node, *layers: str) -> onnx_ir.Node:
    """Record the original layers that `node` came from; returns `node`."""
    names = [name for name in layers if name]
    if names:
        node.metadata_props[LAYER_KEY] = ";".join(dict.fromkeys(names))
    return node


def layer_of(node: onnx_ir.Node) -> str:
    """Original layer names of `node`, joined by ';' (its own name when nothing was recorded)."""
    return node.metadata_props.get(LAYER_KEY) or node.name or ""
