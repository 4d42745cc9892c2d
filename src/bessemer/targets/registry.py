"""Find targets by name, validate their options; plugins join by the entry point group `bessemer.targets`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from bessemer.ir.errors import UsageError
from bessemer.targets import TARGETS
from bessemer.targets.base import CheckpointTarget, Target, TargetEntry

HEAD = 16


def all_targets() -> tuple[TargetEntry, ...]:
    """Built-in targets, then plugins."""
    from importlib.metadata import entry_points

    plugins = (point.load() for point in entry_points(group="bessemer.targets"))
    return (*TARGETS, *plugins)


def find(name: str) -> TargetEntry:
    """The declaration called `name`; raises UsageError naming the known ones."""
    known = next((entry for entry in TARGETS if entry.name == name), None)
    if known is not None:  # built-in names are ours; looking for plugins reads every installed package
        return known
    entries = {entry.name: entry for entry in all_targets()}
    if name in entries:
        return entries[name]
    near = get_close_matches(name, entries, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    raise UsageError(f"There is no target '{name}'", fix=f"{hint}Known targets: {', '.join(entries)}")


def target_of(path: Path) -> TargetEntry | None:
    """The target whose own kind of artifact this file is; None for everything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return None  # the source's sniffing says what is wrong with it
    return next((entry for entry in all_targets() if entry.sniff is not None and entry.sniff(head)), None)


def validate(name: str, target: Target | CheckpointTarget, options: Mapping[str, Any]) -> Any:
    """The target's option model; raises UsageError naming the option, the reason and the known ones."""
    from pydantic import ValidationError

    try:
        return target.options.model_validate(_lists(target, options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        known = ", ".join(target.options.model_fields)
        near = get_close_matches(key, target.options.model_fields, n=1)
        hint = f"Did you mean '{near[0]}'? " if near and near[0] != key else ""
        raise UsageError(
            f"Target '{name}' cannot take {key}={problem.get('input')!r}",
            why="There is no such option" if problem["type"] == "extra_forbidden" else str(problem["msg"]),
            fix=f"{hint}Known options: {known}",
        ) from None


def _lists(target: Target | CheckpointTarget, options: Mapping[str, Any]) -> dict[str, Any]:
    """Text for an option that takes several values is split at ':' (`keep=/head/*:/softmax`)."""
    fields = target.options.model_fields.items()
    several = {key for key, item in fields if get_origin(item.annotation) in (list, tuple)}
    return {
        key: value.split(":") if key in several and isinstance(value, str) else value
        for key, value in options.items()
    }
