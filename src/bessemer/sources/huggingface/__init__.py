"""Hugging Face directories: config.json and weights, exported for the task that the architecture is for.

Nothing is fetched and no code of the directory is run. A model in another format that lies there is used where there
are no weights that transformers knows.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import MissingExtra, UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface.directory import (
    CONFIG,
    companions_of,
    foreign_model,
    weights_of,
)

if TYPE_CHECKING:
    from bessemer.runners.base import Runner
    from bessemer.sources.huggingface.building import Built
    from bessemer.sources.huggingface.tasks import Plan, Task


class HuggingFaceSource:
    """Reads model directories; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """The task's graph. Raises UnreadableInput, UsageError, MissingExtra, Declined."""
        foreign = _foreign(path, options)
        if foreign is not None:
            return _opened(path, *foreign, options)
        from bessemer.sources.huggingface.drawn import drawn

        model, why = drawn(path, options)
        if model is not None:
            return model
        from bessemer.sources.huggingface.exporting import export

        task, plan, built = _planned(path, options)
        config = built.model.config
        details = {
            "architecture": type(built.model).__name__,
            "model_type": config.model_type,
            "task": task.name,
            "weights": str(built.model.dtype).removeprefix("torch."),
        }
        found = export(plan, Origin("huggingface", path, details), built.mapped)
        found.notes[:0] = _notes(built, task, options)
        if why:
            found.notes.append(f"The graph is traced by torch, since no table of an architecture draws it: {why}")
        return replace(found, companions=companions_of(path))

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """transformers on the directory; the runtime of another format's file."""
        foreign = _foreign(path, options)
        if foreign is not None:
            from bessemer.sources.sniff import identify

            return identify(foreign[0]).load().runner(foreign[0], options)
        if options.original == "reference" or (options.original == "auto" and not _has_transformers()):
            from bessemer.sources.huggingface.drawn import reference

            return reference(path, options)
        from bessemer.sources.huggingface.running import TransformersRunner

        _, plan, built = _planned(path, options)
        return TransformersRunner(plan, built.mapped)


def _foreign(path: Path, options: OpenOptions) -> tuple[Path, str] | None:
    """A model in another format, where the directory has no weights for transformers. Raises UnreadableInput."""
    if (path / CONFIG).is_file() and weights_of(path) is not None:
        return None
    found = foreign_model(path)
    if found is None:
        raise UnreadableInput(
            f"{path} holds no model", why="it has no model.safetensors, pytorch_model.bin or a model in another format",
            fix="Complete the download",
        )  # fmt: skip
    if options.task is not None:
        raise UsageError(
            f"--task {options.task} has no meaning for {found[0]}", why=f"the {found[1]} file says what it computes"
        )
    return found


def _opened(path: Path, file: Path, title: str, options: OpenOptions) -> Model:
    from bessemer.sources.sniff import identify

    found = identify(file).load().open(file, options)
    used = f"its {title} file {file.relative_to(path)} was used"
    found.notes.insert(0, f"{path.name} holds no weights for transformers: {used}")
    return replace(found, companions=companions_of(path))


def _planned(path: Path, options: OpenOptions) -> tuple[Task, Plan, Built]:
    """What to run, with the weights in place."""
    _need_extra()
    from bessemer.sources.huggingface.building import build
    from bessemer.sources.huggingface.config import settings_of
    from bessemer.sources.huggingface.tasks import chosen
    from bessemer.sources.huggingface.tasks.base import bound

    settings = settings_of(path)
    weights = weights_of(path)
    if weights is None:
        raise UnreadableInput(f"{path} lost its weights while it was read")
    task, kind = chosen(settings, options.task)
    built = build(path, settings, weights, kind)
    plan = _plan(task, built.model)
    known = ", ".join(port.name for port in plan.ports)
    for name in options.shapes:
        if name not in {port.name for port in plan.ports}:
            raise UsageError(f"--shape {name} fits no input of this model", fix=f"It has: {known}")
    return task, replace(plan, ports=bound(plan.ports, options.shapes)), built


def _plan(task: Task, model: Any) -> Plan:
    from bessemer.ir.errors import Blocker, Declined

    try:
        return task.plan(model, task.keys)
    except (ValueError, AttributeError, TypeError, RuntimeError) as error:  # settings may be named otherwise
        why = f"{type(error).__name__}: {str(error)[:200]}"
        blocker = Blocker("", type(model).__name__, "no-task", f"the task {task.name} does not fit it ({why})")
        raise Declined("transformers", [blocker]) from None


def _notes(built: Built, task: Task, options: OpenOptions) -> list[str]:
    asked = "asked for" if options.task else "from config.json"
    found = [f"Task: {task.name} ({asked}), by {type(built.model).__name__}; attention is computed as written (eager)"]
    said = built.model.config.architectures or [type(built.model).__name__]
    if type(built.model).__name__ not in said and task.name != "feature-extraction":
        found.append(f"config.json names {said[0]}, which the weights were trained for; that they suit the task is unproven")
    if built.unused:
        found.append(f"{len(built.unused)} stored tensors have no place in it: {', '.join(built.unused[:4])}")
    return found


def _has_transformers() -> bool:
    return all(find_spec(package) is not None for package in ("torch", "transformers"))


def _need_extra() -> None:
    for package in ("torch", "transformers", "safetensors", "onnxscript"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, extra="hf", needed_for="Reading a Hugging Face directory") from None


SOURCE = HuggingFaceSource()
