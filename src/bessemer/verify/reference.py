"""Run the original: on the user's data, or on generated inputs of sizes that it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bessemer.ir.cut import Taps
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.runners.base import Runner
from bessemer.verify.data import Request, input_encodings, load
from bessemer.verify.inputs import UNBOUND, declared_sizes, generate, ranges, vocabulary_bounds
from bessemer.verify.judge import OriginalRefuses, Reference, run_original

if TYPE_CHECKING:
    from bessemer.request import ConvertOptions


def reference_of(original: Runner, model: Model | None, options: ConvertOptions) -> Reference:
    """What the original answers to the user's inputs, or to generated ones that it accepts.

    model: its graph, where a source reads the file; bound dims of it win over the runtime's. Of a cut model the whole
    original (a `runners.cut.CutRunner`) is fed, and the sets and answers are those at the cut's borders.
    Raises OriginalRefuses (a UsageError) when it accepts none.
    """
    whole = model if model is None or model.cut is None else model.cut.whole
    taps = None if model is None or model.cut is None else model.cut.taps
    if whole is None:
        bound = _shaped(original.signature, options.shapes)
    else:
        bound = _bound_signature(original.signature, whole.signature)
    if options.data is not None:
        return _on_data(original, bound, whole, taps, options)
    return _on_generated(original, bound, whole, taps, options)


def _on_data(
    original: Runner, bound: Signature, model: Model | None, taps: Taps | None, options: ConvertOptions
) -> Reference:
    if options.data is None:
        raise ValueError("there is no data to run on")
    request = Request(options.data, options.preprocess, options.labels, options.label_offset, options.samples)
    data = load(request, bound, {} if model is None else input_encodings(model.graph.graph))
    found = run_original(original, data.sets, taps)
    found.notes += data.notes
    if taps is not None and any(item.labels is not None for item in data.sets):
        found.notes.append("accuracy was not measured: the labels speak of the whole model's answers")
    return found


def _on_generated(
    original: Runner, bound: Signature, model: Model | None, taps: Taps | None, options: ConvertOptions
) -> Reference:
    """The sizes of unbound dims are tried in turn until the original refuses at most one set."""
    bounds = {} if model is None else vocabulary_bounds(model.graph.graph)
    limits = {**({} if model is None else declared_sizes(model.graph.graph)), **ranges(options.shapes)}
    answered: list[Reference] = []
    refusals: list[OriginalRefuses] = []
    for sizes in UNBOUND if bound.dynamic else UNBOUND[:1]:
        sets = generate(bound, seed=options.seed, bounds=bounds, limits=limits, unbound=sizes)
        try:
            answered.append(run_original(original, sets, taps))
        except OriginalRefuses as refusal:
            refusals.append(refusal)
            continue
        if len(answered[-1].refused) <= 1:
            break
    if not answered:
        raise _unknown_sizes(refusals[0], bound)
    return max(answered, key=lambda found: len(found.sets))


def _unknown_sizes(refusal: OriginalRefuses, bound: Signature) -> OriginalRefuses:
    """The refusal, with the inputs whose sizes only the user knows and how to say them."""
    free = [spec for spec in bound.inputs if spec.dynamic]
    if not free:
        return refusal
    tried = "; ".join(f"{first} and {second}" for first, second in UNBOUND)
    said = " ".join(f"--shape {spec.name}={_hint(spec)}" for spec in free)
    return OriginalRefuses(
        "The original model refuses every generated input",
        where=f"inputs of free sizes: {', '.join(map(str, free))}",
        why=f"{refusal.why.rstrip('.')}. Sizes tried for each free dimension: {tried}",
        fix=f"Say sizes that it accepts ({said}), or give inputs with --data",
    )


def _hint(spec: TensorSpec) -> str:
    """Dims as `--shape` spells them, the free ones as capital letters to be replaced."""
    letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return "x".join(str(dim) if isinstance(dim, int) else next(letters, "?") for dim in spec.shape)


def _shaped(signature: Signature, shapes: Mapping[str, tuple[int | str | tuple[int, int], ...]]) -> Signature:
    """The user's shapes laid over a runtime's, for files that have no graph to bind."""
    specs = {spec.name: spec for spec in signature.inputs}
    for name, dims in shapes.items():
        spec = specs.get(name)
        if spec is None or len(dims) != len(spec.shape) or not all(map(_fits, spec.shape, dims)):
            known = ", ".join(map(str, signature.inputs))
            raise UsageError(f"--shape {name} fits no input of this file", fix=f"It has: {known}")
        specs[name] = TensorSpec(name, spec.dtype, tuple(None if isinstance(dim, tuple) else dim for dim in dims))
    return Signature(tuple(specs.values()), signature.outputs)


def _fits(have: int | str | None, wanted: int | str | tuple[int, int]) -> bool:
    return not isinstance(have, int) or have == wanted


def _bound_signature(runtime: Signature, canonical: Signature) -> Signature:
    shapes = {spec.name: spec.shape for spec in canonical.inputs}
    inputs = tuple(
        TensorSpec(spec.name, spec.dtype, shapes.get(spec.name, spec.shape) or spec.shape)
        for spec in runtime.inputs
    )
    return Signature(inputs, runtime.outputs)
