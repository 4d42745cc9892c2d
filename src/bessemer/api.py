"""The Python API: one verb per stage, `convert` for the whole road, and ConversionManager."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.manager import ConversionManager

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.ir.model import Model
    from bessemer.passes.base import Pass
    from bessemer.request import ConvertOptions, Progress
    from bessemer.targets.base import Artifact
    from bessemer.verify.evidence import Evidence, TargetEvidence

__all__ = ["ConversionManager", "compile", "convert", "cut", "join", "load", "load_checkpoint", "optimize", "verify"]

PathLike = str | os.PathLike[str]
Shapes = Mapping[str, Sequence[int | str | tuple[int, int]]]


def load(
    path: PathLike | Any,
    *,
    shapes: Shapes | None = None,
    signature: str | None = None,
    factory: str | None = None,
    task: str | None = None,
    example_inputs: Any = None,
    dynamic_shapes: Any = None,
) -> Model:
    """Read a model file, recognised by its content; or take a torch.nn.Module (or an ExportedProgram) as it is.

    path: a file, a directory, 'FILE.py:FUNCTION' that builds a torch module, or the module itself.
    shapes: input name -> dims; an int binds an axis, a str names it, (low, high) is a range.
    factory: 'FILE.py:FUNCTION' that builds the module whose weights a state dict holds; task: see OpenOptions.
    example_inputs, dynamic_shapes: of a module; a tensor, a tuple of positional inputs or a dict by parameter name, and
    which axes are free, as torch.export takes it.
    Raises UsageError, UnreadableInput or Declined; for a module, VerificationFailed where exporting changes its answers.
    """
    import tempfile
    import weakref

    from bessemer.opening import open_model
    from bessemer.sources.base import OpenOptions, split_factory

    if not isinstance(path, (str, os.PathLike)):
        from bessemer.sources.torch.in_memory import save

        folder = tempfile.TemporaryDirectory(prefix="bessemer-module-")
        file = save(path, example_inputs, dynamic_shapes, Path(folder.name))
        model = open_model(file, OpenOptions(_dims(shapes)))
        weakref.finalize(model, folder.cleanup)  # the original runs from there as long as the model lives
        return model
    file, builds = split_factory(Path(path), factory)
    return open_model(file, OpenOptions(_dims(shapes), signature, factory=builds, task=task))


def load_checkpoint(
    path: PathLike, *, adapters: Sequence[PathLike | tuple[PathLike, float]] = (), base: PathLike | None = None
) -> Checkpoint:
    """Named tensors, settings and tokenizer of a file or a directory; tensors are read when they are wanted.

    adapters: LoRA adapters that are merged into the weights, with a factor or without; base: the model that an adapter is
    for, where `path` is an adapter. Raises UsageError, UnreadableInput or Declined.
    """
    from bessemer.opening import open_checkpoint
    from bessemer.sources.base import OpenOptions

    pairs = [item if isinstance(item, tuple) else (item, 1.0) for item in adapters]
    merged = tuple((Path(place), factor) for place, factor in pairs)
    return open_checkpoint(Path(path), OpenOptions(adapters=merged, base=None if base is None else Path(base)))


def optimize(model: Model, steps: Sequence[Pass] | None = None, *, level: int = 2) -> Model:
    """Bring `model` to canonical form and rewrite it, in place; returns it.

    steps: these passes, in order; without, the standard ones of `level` (0 to 3).
    """
    from bessemer.opening import normalise
    from bessemer.passes.base import run_passes
    from bessemer.request import ConvertOptions

    if steps is None:
        return normalise(model, ConvertOptions(level=level)).model
    run_passes(model.graph, steps)
    return model


def compile(model: Model | Checkpoint, target: str, *, out: PathLike) -> Artifact:
    """Write `model` for a target ('tflite:float16', 'gguf:q4_k_m', spelled as after `--to`) into the directory `out`.

    A graph is brought to canonical form first; targets of weights take what `load_checkpoint` gives. The artifact is not
    executed here: `verify` does that. Raises Declined with all blockers, or UsageError.
    """
    from bessemer.ir.model import Model

    return _compiled(model, target, out) if isinstance(model, Model) else _stored(model, target, out)


def _stored(checkpoint: Checkpoint, target: str, out: PathLike) -> Artifact:
    from bessemer.ir.errors import UsageError
    from bessemer.script.target_spec import parse
    from bessemer.targets.base import Artifact
    from bessemer.targets.registry import find, validate
    from bessemer.workspace import Workspace, artifact_stem

    spec = parse(target)
    if find(spec.name).pillar != "checkpoint":
        raise UsageError(f"The target '{spec.name}' is made from a graph", fix="Give it what bessemer.load returns")
    implementation = find(spec.name).load_checkpoint()
    options = validate(spec.name, implementation, spec.options)
    prepared = implementation.prepare(checkpoint, options)
    stem = artifact_stem(checkpoint.origin.path, "" if options.precision == "keep" else options.precision)
    with Workspace(Path(out)) as work:
        folder = work.folder("artifact")
        made = implementation.write(prepared, folder, stem)
        placed = work.publish(list(made.files), folder)
    return Artifact(made.target, Path(out) / made.path.relative_to(folder), tuple(placed))


def _compiled(model: Model, target: str, out: PathLike) -> Artifact:
    from bessemer.ir.errors import UsageError
    from bessemer.opening import normalise
    from bessemer.request import ConvertOptions
    from bessemer.script.target_spec import parse
    from bessemer.targets.base import Artifact
    from bessemer.targets.registry import find, validate
    from bessemer.workspace import Workspace, artifact_stem, bring, check_companions

    check_companions(model.companions, Path(out))
    spec = parse(target)
    if find(spec.name).pillar != "graph":
        fix = "Give it what bessemer.load_checkpoint returns"
        raise UsageError(f"The target '{spec.name}' is made from weights", fix=fix)
    implementation = find(spec.name).load()
    options = validate(spec.name, implementation, spec.options)
    canonical = normalise(_copy(model), ConvertOptions()).model
    prepared = implementation.prepare(canonical, options)
    with Workspace(Path(out)) as work:
        made = implementation.write(prepared, work.path, artifact_stem(model.origin.path, prepared.precision))
        placed = work.publish([*made.files, *bring(model.companions, work.path, made.files)], work.path)
    return Artifact(made.target, Path(out) / made.path.relative_to(work.path), tuple(placed))


def verify(artifact: Artifact | PathLike, against: PathLike, **options: Any) -> TargetEvidence:
    """Run an artifact beside its original; `options` are the fields of `request.ConvertOptions`.

    A departure is told by `verified` and `status`, not by an exception.
    """
    from bessemer import pipeline
    from bessemer.targets.base import Artifact

    path = artifact.path if isinstance(artifact, Artifact) else Path(artifact)
    original, settled = _source(against, _options(options))
    return pipeline.verify(path, original, settled)


def convert(
    path: PathLike | Any,
    to: str | Sequence[str],
    out: PathLike = "out",
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Evidence:
    """Convert a model to every target named in `to` (spelled as after `--to`) and verify each artifact.

    path: as `load` takes it, a torch.nn.Module with `example_inputs` (and `dynamic_shapes`) included.
    options: the fields of `request.ConvertOptions` (shapes, signature, data, seed, bound, ...); `calibration` and
    `recipe` may be paths.
    What a target declines or fails is a row of the evidence, not an exception.
    """
    from bessemer import pipeline
    from bessemer.request import TargetRequest
    from bessemer.script.target_spec import parse

    specs = [parse(text) for text in ([to] if isinstance(to, str) else to)]
    requests = [TargetRequest(spec.name, spec.options) for spec in specs]
    if not isinstance(path, (str, os.PathLike)):
        import tempfile

        from bessemer.sources.torch.in_memory import save

        examples, free = options.pop("example_inputs", None), options.pop("dynamic_shapes", None)
        with tempfile.TemporaryDirectory(prefix="bessemer-module-") as folder:
            file = save(path, examples, free, Path(folder))
            return pipeline.convert(file, requests, Path(out), _options(options), progress)
    file, settled = _source(path, _options(options))
    return pipeline.convert(file, requests, Path(out), settled, progress)


def _source(path: PathLike, options: ConvertOptions) -> tuple[Path, ConvertOptions]:
    """'FILE.py:FUNCTION' in a model's place is a file and its factory."""
    from dataclasses import replace

    from bessemer.sources.base import split_factory

    file, factory = split_factory(Path(path), options.factory)
    return file, replace(options, factory=factory)


def cut(model: Model, inputs: str | Sequence[str] = (), outputs: str | Sequence[str] = ()) -> Model:
    """The part of `model`, as it was loaded, between the named values; `model` itself stays as it is.

    Names are those of values, of the original's tensors, of nodes or layers; inputs, if given, are all that the part
    has. Its artifact is verified with the same names: `verify(artifact, path, inputs=..., outputs=...)`.
    Raises UsageError.
    """
    from bessemer.passes.cut import cut as cut_out

    starts, ends = ((given,) if isinstance(given, str) else tuple(given) for given in (inputs, outputs))
    return cut_out(model, starts, ends)


def join(
    models: Sequence[PathLike],
    out: PathLike,
    *,
    to: str | Sequence[str] = (),
    maps: Mapping[str, str] | Sequence[str] = (),
    share: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Evidence:
    """Join models, each fed by the one before it, and convert the whole; verified against the originals, piped.

    out: a file whose suffix says the target ('joined.onnx'), or a directory for the targets `to`.
    maps: {'B:input': 'A:output'}, or a list as after `--map`; share: inputs of one name become one.
    options: as for `convert`. Raises UsageError where the models cannot be joined as asked.
    """
    from bessemer import pipeline

    said = [f"{key}={value}" for key, value in maps.items()] if isinstance(maps, Mapping) else list(maps)
    targets = [to] if isinstance(to, str) else list(to)
    names = [os.fspath(model) for model in models]
    return pipeline.join(names, Path(out), targets, said, _options(options), share=share, progress=progress)[1]


def _options(given: Mapping[str, Any]) -> ConvertOptions:
    """Fields of ConvertOptions from keywords; unknown ones are errors that name the nearest."""
    from dataclasses import fields

    from bessemer.manager import unknown_key
    from bessemer.request import Calibration, ConvertOptions
    from bessemer.script.recipe import load as load_recipe
    from bessemer.verify.preprocess import Preprocess

    known = [item.name for item in fields(ConvertOptions)]
    for key in given:
        if key not in known:
            raise unknown_key("option", key, known)
    changes = dict(given)
    for key in ("data", "labels"):
        if changes.get(key) is not None:
            changes[key] = Path(changes[key])
    if isinstance(changes.get("calibration"), (str, os.PathLike)):
        changes["calibration"] = Calibration(Path(changes["calibration"]))
    if isinstance(changes.get("recipe"), (str, os.PathLike)):
        changes["recipe"] = load_recipe(Path(changes["recipe"]))
    if isinstance(changes.get("preprocess"), str):
        changes["preprocess"] = Preprocess.parse(changes["preprocess"])
    for key in ("inputs", "outputs"):
        if key in changes:
            changes[key] = (changes[key],) if isinstance(changes[key], str) else tuple(changes[key])
    if "shapes" in changes:
        changes["shapes"] = _dims(changes["shapes"])
    return ConvertOptions(**changes)


def _dims(shapes: Shapes | None) -> dict[str, tuple[int | str | tuple[int, int], ...]]:
    return {name: tuple(dims) for name, dims in (shapes or {}).items()}


def _copy(model: Model) -> Model:
    from bessemer.ir.model import Model

    return Model(model.graph.clone(), model.origin, list(model.notes))
