"""The road as far as no target is asked: open, normalise, rewrite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import BessemerError, Blocker, Declined, UsageError
from bessemer.ir.model import Model
from bessemer.ir.unread import Unread, refuse_unread
from bessemer.request import STAGES, ConvertOptions, Optimized
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.ir.signature import TensorSpec
    from bessemer.passes.base import Pass
    from bessemer.passes.shapes import Dims


def open_model(path: Path, options: OpenOptions) -> Model:
    """Raw model of a file, recognised by content; the part of it that `options` cut out.

    Raises UnreadableInput, UsageError, and Declined where an operator of the part has no meaning in the hub.
    """
    from bessemer.sources.sniff import identify
    from bessemer.sources.validity import blaming

    if not (options.inputs or options.outputs):
        with blaming(path):
            return identify(path).load().open(path, options)
    part = read_model(path, options)
    refuse_unread(part)
    return part


def open_checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """A file or a directory as named weights. Raises UnreadableInput, UsageError, and Declined where nobody knows how."""
    from bessemer.sources.sniff import identify
    from bessemer.sources.validity import blaming

    entry = identify(path)
    with blaming(path):
        found = entry.open_checkpoint(path, options)
    if found is None:
        reason = f"{path.name} holds a graph, not the weights of a known architecture"
        raise Declined("checkpoint", [Blocker("", entry.title, "no-checkpoint", reason)])
    if options.base is not None:
        from bessemer.architectures.lora import for_base

        base = _base_of(path, found, options)
        found = for_base(found, base.config)
        found.adapter = replace(found.adapter, base=base) if found.adapter else None
    for adapter, factor in options.adapters:
        found = _with(found, adapter, factor, options)
    return found


def _base_of(path: Path, adapter: Checkpoint, options: OpenOptions) -> Checkpoint:
    """The model that an adapter is for. Raises UsageError where the file is no adapter."""
    if adapter.adapter is None or options.base is None:
        raise UsageError(f"--base names the model that an adapter is for, and {path} is a whole model", fix="Leave it out")
    return open_checkpoint(options.base, OpenOptions())


def _with(model: Checkpoint, adapter: Path, factor: float, options: OpenOptions) -> Checkpoint:
    """A model with an adapter merged into it, lazily. Raises UsageError for a file that is no adapter."""
    from bessemer.architectures.lora import merged

    part = open_checkpoint(adapter, OpenOptions())
    if part.adapter is None:
        raise UsageError(f"--adapter {adapter} is a whole model", fix="Name an adapter, or convert it by itself")
    return merged(model, part, factor)


def read_model(path: Path, options: OpenOptions) -> Model:
    """`open_model` with stand-ins for operators that have no meaning in the hub (`ir.unread`)."""
    from bessemer.sources.sniff import identify
    from bessemer.sources.validity import blaming

    with blaming(path):
        try:
            model = identify(path).load().open(path, options)
        except Unread as refusal:
            model = refusal.model
        return _cut(model, options) if options.inputs or options.outputs else model


def _cut(model: Model, options: OpenOptions) -> Model:
    """The part, the user's shapes bound in the whole first."""
    from bessemer.passes.cut import cut
    from bessemer.passes.shapes import BindShapes, InferShapes

    names = {str(value.name) for value in model.graph.graph.inputs}
    bound = {name: dims for name, dims in options.shapes.items() if name in names}
    if bound:
        BindShapes(bound).run(model.graph)
        InferShapes().run(model.graph)
    others = {name: dims for name, dims in options.shapes.items() if name not in names}
    part = cut(model, options.inputs, options.outputs, others, describing(model, options))
    inside = {spec.name for spec in part.signature.inputs}
    unknown = sorted(others.keys() - inside)
    if unknown:
        raise UsageError(
            f"--shape names '{unknown[0]}', which is an input neither of the model nor of the cut",
            fix=f"They have: {', '.join(sorted(names | inside))}",
        )
    return part


def describing(model: Model, options: OpenOptions) -> Callable[[str], TensorSpec | None]:
    """What the original's runtime says of a tensor inside, where it can be run in part."""
    from bessemer.sources.sniff import identify

    def described(tensor: str) -> TensorSpec | None:
        try:
            runner = identify(model.origin.path).part_runner(model.origin.path, options, [tensor])
        except BessemerError:
            return None
        outputs = () if runner is None else runner.signature.outputs
        return outputs[0] if len(outputs) == 1 else None

    return described


def original_of(path: Path, options: OpenOptions, model: Model | None) -> tuple[Any, ...]:
    """The call for a child process that runs the original of `model`: tapped at the borders where it is cut."""
    if model is None or model.cut is None:
        return "bessemer.executors:of_source", str(path), options
    return "bessemer.executors:of_cut", str(path), options, model.cut.taps


def graph_of(path: Path, options: ConvertOptions) -> Model | None:
    """The model of a file with the user's shapes bound, from which inputs are generated.

    None for an artifact that can be run, not read.
    """
    from bessemer.targets.registry import target_of

    if target_of(path) is not None:
        return None
    model = open_model(path, options.opening)
    if options.shapes:
        normalise(model, ConvertOptions(shapes=options.shapes, level=0))
    return model


def normalise(model: Model, options: ConvertOptions) -> Optimized:
    """Canonical form and full-precision rewrites, in place; stages that an archive brings along are not run again."""
    from bessemer.passes.base import run_passes
    from bessemer.sources.validity import blaming

    with blaming(model.origin.path):
        records = run_passes(model.graph, passes_until(model, options, "rewrite"))
    return Optimized(model, [*(model.past.passes if model.past else ()), *records])


def passes_until(model: Model, options: ConvertOptions, until: str) -> list[Pass]:
    """What is left to do up to and including the stage `until`."""
    from bessemer.passes.shapes import BindShapes, InferShapes
    from bessemer.passes.standard import canonical_passes, rewriting_passes

    done = STAGES.index(model.past.stage) if model.past else 0
    until = min(until, "rewrite", key=STAGES.index)
    shapes = _bindable(model, options)
    steps: list[Pass] = []
    if done < STAGES.index("normalise"):
        steps += canonical_passes(shapes)
    elif shapes:
        steps += [BindShapes(dict(shapes)), InferShapes()]
    if done < STAGES.index("rewrite") == STAGES.index(until):
        steps += rewriting_passes(options.level)
    return steps


def _bindable(model: Model, options: ConvertOptions) -> Mapping[str, Dims]:
    """The user's shapes; of a cut model's inputs alone, the others were bound before the cut."""
    if model.cut is None:
        return options.shapes
    names = {spec.name for spec in model.signature.inputs}
    return {name: dims for name, dims in options.shapes.items() if name in names}
