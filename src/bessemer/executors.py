"""Runners by file, for child processes: the original through its source, an artifact through its target."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path

from bessemer.ir.cut import Taps
from bessemer.runners.base import Runner
from bessemer.sources.base import OpenOptions


def of_source(path: str, options: OpenOptions) -> Runner:
    """The file in its own runtime. Raises UnreadableInput, MissingExtra."""
    from bessemer.sources.sniff import identify

    file = Path(path)
    return identify(file).load().runner(file, options)


def of_cut(path: str, options: OpenOptions, taps: Taps) -> Runner:
    """The whole file in its own runtime, tapped at the borders of a part; where that runtime refuses the whole, the file
    without what the borders do not need. Raises as `of_source`, and Declined.
    """
    from bessemer.ir.errors import RuntimeRefused
    from bessemer.runners.cut import CutRunner
    from bessemer.sources.sniff import identify

    file = Path(path)
    entry = identify(file)
    tensors = [tap.tensor for tap in (*taps.inputs, *taps.outputs)]
    part = partial(entry.part_runner, file, options, tensors)
    try:
        return CutRunner(entry.load().runner(file, options), taps, part)
    except RuntimeRefused:
        runner = part()
        if runner is None:
            raise
        return CutRunner(runner, taps)


def of_arbiter(call: str, path: str, taps: Taps | None) -> Runner:
    """A format's reference evaluator on the file, tapped where a part is meant."""
    from importlib import import_module

    from bessemer.runners.cut import CutRunner

    module, name = call.split(":")
    runner: Runner = getattr(import_module(module), name)(path)
    return runner if taps is None else CutRunner(runner, taps)


def of_target(name: str, path: str) -> Runner:
    """An artifact in its target's runtime. Raises MissingExtra."""
    from bessemer.targets.registry import find

    return find(name).runner(Path(path))


def of_file(path: str, options: OpenOptions) -> Runner:
    """Any file that a source reads or a target recognises as its own; of an archive, the graph that it holds.

    Raises UnreadableInput, MissingExtra, Declined.
    """
    from bessemer.sources.sniff import identify
    from bessemer.targets.registry import target_of

    entry = target_of(Path(path))
    if entry is not None:
        return entry.runner(Path(path))
    return of_graph(path, options) if identify(Path(path)).name == "bsm" else of_source(path, options)


def of_graph(path: str, options: OpenOptions) -> Runner:
    """The canonical graph of a file, written by the `onnx` target and executed as it is."""
    import tempfile

    from bessemer.ir.model import Model
    from bessemer.passes.base import run_passes
    from bessemer.passes.standard import standard_passes
    from bessemer.sources.sniff import identify
    from bessemer.targets.registry import find, validate

    model: Model = identify(Path(path)).load().open(Path(path), options)
    run_passes(model.graph, standard_passes(options.shapes, 0))
    target = find("onnx").load()
    prepared = target.prepare(model, validate("onnx", target, {}))
    folder = tempfile.TemporaryDirectory(prefix="bessemer-graph-")
    runner = target.runner(target.write(prepared, Path(folder.name), "graph").path)
    weakref.finalize(runner, folder.cleanup)
    return runner


def of_original(name: str, path: str, taps: Taps | None = None) -> Runner:
    """An original file in the runtime of a target that executes its format, tapped where a part is meant.

    Raises MissingExtra.
    """
    from bessemer.runners.cut import CutRunner
    from bessemer.targets.base import NativeTarget
    from bessemer.targets.registry import find

    target: NativeTarget = find(name).load()  # type: ignore[assignment]  # `TargetEntry.runs` says so
    runner = target.original(Path(path))
    return runner if taps is None else CutRunner(runner, taps)
