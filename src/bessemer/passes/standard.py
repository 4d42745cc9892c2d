"""The road every model takes before a target sees it: canonical opset, canonical form, rewrites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bessemer.passes.base import PassResult, Repeat

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.passes.base import Pass

Dims = tuple[int | str | tuple[int, int], ...]

def standard_passes(shapes: Mapping[str, Dims], level: int = 2) -> list[Pass]:
    """level 0: canonical form only; 1: folding and removal; 2: layers join their neighbours."""
    return [*canonical_passes(shapes), *rewriting_passes(level)]


def canonical_passes(shapes: Mapping[str, Dims]) -> list[Pass]:
    """What `normalise` means: one opset, one form, the user's shapes, encodings on values."""
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.qdq import AbsorbQdq
    from bessemer.passes.shapes import BindShapes, InferShapes

    return [
        InferShapes(),
        ToCanonicalOpset(),
        Canonicalize(),
        BindShapes(dict(shapes)),
        InferShapes(),
        AbsorbQdq(),
    ]


def rewriting_passes(level: int = 2) -> list[Pass]:
    """What `rewrite` means, by level (see `standard_passes`)."""
    from bessemer.passes.batchnorm import FoldAffine, FoldBatchNorm
    from bessemer.passes.branches import TakeBranches
    from bessemer.passes.canonicalize import Canonicalize
    from bessemer.passes.eliminate import Eliminate
    from bessemer.passes.fold import FoldConstants
    from bessemer.passes.fuse import Fuse
    from bessemer.passes.sequences import UnpackSequences
    from bessemer.passes.shapes import InferShapes

    steps: list[Pass] = []
    if level >= 1:
        steps.append(
            Repeat((FoldConstants(), TakeBranches(), Eliminate(), UnpackSequences(), Canonicalize(), InferShapes()))
        )
    if level >= 2:
        steps += [
            FoldAffine(),  # a bias that stands apart, in front of a normalisation
            FoldBatchNorm(),
            FoldAffine(),
            Deduplicate(),
            Fuse(),
            FoldAffine(),  # what follows a product that only now is a Gemm
            Repeat((Eliminate(), Canonicalize(), InferShapes())),
        ]
    return steps


@dataclass(frozen=True)
class ToCanonicalOpset:
    """Every model is rewritten in the canonical opset; what has no form there keeps its own opset, and that is said."""

    name: ClassVar[str] = "canonical-opset"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """In place, on a copy first where something could be declined half-way."""
        from bessemer.ir.canonical import OPSET
        from bessemer.passes.opset import ConvertOpset, nodes_of, opset_of, refusable

        have = opset_of(graph)
        if have in (0, OPSET):
            return PassResult()
        if have < OPSET and not any(refusable(node, have, OPSET) for node in nodes_of(graph)):
            return ConvertOpset(OPSET).run(graph)
        trial = ConvertOpset(OPSET).run(graph.clone())
        if trial.declined:
            return PassResult(0, trial.declined)
        return ConvertOpset(OPSET).run(graph)


@dataclass(frozen=True)
class Deduplicate:
    """Equal subexpressions and equal constants become one; tied weights stay tied."""

    name: ClassVar[str] = "deduplicate"

    def run(self, graph: onnx_ir.Model) -> PassResult:
        """By onnx-ir's passes; quantized constants and encoded values are left alone."""
        from onnx_ir.passes import common

        from bessemer.ir.encoding import encoding_of

        values = [value for part in graph.graphs() for value in part.initializers.values()]
        values += [value for node in graph.graph.all_nodes() for value in (*node.inputs, *node.outputs) if value]
        if any(encoding_of(value) is not None for value in values):
            return PassResult(declined=("the model is quantized: equal values may be encoded differently",))
        steps = (
            common.DeduplicateInitializersPass(size_limit=1 << 16),
            common.CommonSubexpressionEliminationPass(),
        )
        return PassResult(sum(bool(step(graph).modified) for step in steps))
