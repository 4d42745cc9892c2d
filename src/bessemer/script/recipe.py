"""Recipes: what is asked of a conversion, in a TOML file.

    [quantize]
    method = "percentile"
    percentile = 99.9
    keep = ["Softmax"]

    [[quantize.layers]]
    match = "stem/*"
    activations = "int16"

The keys of `[quantize]` are the fields of `quantize.levels.Quantize`, those of `[[quantize.layers]]` the fields of
`quantize.precision.LayerPrecision`: an option is declared there and nowhere else. `precision` serves targets that name
none. What stands on the command line wins.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from bessemer.ir.errors import UsageError
from bessemer.request import Recipe

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from bessemer.quantize.levels import Quantize

LIMIT = 1 << 20
"""Bytes of a recipe: whatever is larger is another file."""


def load(path: Path) -> Recipe:
    """Read and check a recipe. Raises UsageError: one clear reason, with the nearest key where one is unknown."""
    from bessemer.quantize.levels import Quantize

    tables = _tables(path)
    for name in tables:
        if name != "quantize":
            raise _unknown(path, "", name, ["quantize"])
    given = _checked(path, Quantize, tables.get("quantize", {}))
    try:
        Quantize(**given)
    except UsageError as error:
        raise UsageError(f"{path}: {error.what}", why=error.why, fix=error.fix) from None
    return Recipe(path, given)


def _tables(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(f"The recipe {path} cannot be read: {error.strerror}") from None
    if len(text) > LIMIT:
        raise UsageError(f"{path} is no recipe: it has more than {LIMIT:,} bytes")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} is no TOML", why=str(error)) from None


def _checked(path: Path, kind: type[Any], table: Any) -> dict[str, Any]:
    """The fields of the dataclass `kind` that `table` states."""
    from pydantic import ValidationError

    model = _model(kind)
    try:  # as JSON: strict validation takes a list for a tuple there, and nothing else for something else
        made = model.model_validate_json(json.dumps(table, default=_refuse), strict=True)
    except TypeError as error:
        raise UsageError(f"{path}: {error}") from None
    except ValidationError as error:
        raise _explained(path, kind, error) from None
    hints = get_type_hints(kind)
    return {name: _value(hints[name], getattr(made, name)) for name in sorted(made.model_fields_set)}


def _refuse(value: object) -> Any:
    raise TypeError(f"no option takes the {type(value).__name__} {value}")


def _model(kind: type[Any]) -> type[BaseModel]:
    """A pydantic model of a dataclass: unknown keys are errors, and what was left out can be told."""
    from pydantic import ConfigDict, create_model

    hints = get_type_hints(kind)
    members = {item.name: (_annotation(hints[item.name]), _default(item)) for item in fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **members)  # type: ignore[call-overload, no-any-return]


def _default(item: Any) -> Any:
    if item.default is not MISSING:
        return item.default
    return ... if item.default_factory is MISSING else item.default_factory()


def _inner(hint: Any) -> type[Any] | None:
    """The dataclass that `tuple[dataclass, ...]` is made of."""
    arguments = get_args(hint)
    found = get_origin(hint) is tuple and arguments and is_dataclass(arguments[0])
    return arguments[0] if found and isinstance(arguments[0], type) else None


def _annotation(hint: Any) -> Any:
    inner = _inner(hint)
    return hint if inner is None else tuple[_model(inner), ...]  # type: ignore[misc]


def _value(hint: Any, value: Any) -> Any:
    inner = _inner(hint)
    return value if inner is None else tuple(inner(**item.model_dump()) for item in value)


def _explained(path: Path, kind: type[Any], error: ValidationError) -> UsageError:
    """One problem as a sentence: an unknown key before what it left missing."""
    problem = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    *table, key = [str(part) for part in problem["loc"]] or [""]
    owner = kind
    for part in table:
        owner = owner if part.isdigit() else _inner(get_type_hints(owner)[part]) or owner
    if problem["type"] == "extra_forbidden":
        return _unknown(path, ".".join(["quantize", *table]), key, [item.name for item in fields(owner)])
    place = ".".join(filter(None, ["quantize", *table, key]))
    if problem["type"] == "missing":
        return UsageError(f"{path}: {place} is missing")
    return UsageError(f"{path}: {place} = {problem.get('input')!r} cannot be", why=str(problem["msg"]))


def _unknown(path: Path, table: str, key: str, known: Iterable[str]) -> UsageError:
    names = list(known)
    near = get_close_matches(key, names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    place = f"[{table}] has no key" if table else "a recipe has no table"
    return UsageError(f"{path}: {place} '{key}'", fix=f"{hint}Known: {', '.join(names)}")


def write(changes: Mapping[str, Any], said: Sequence[str] = ()) -> str:
    """A recipe as text. changes: fields of `Quantize`; said: comment lines at its top."""
    lines = [f"# {line}".rstrip() for line in said] + ["[quantize]"]
    lines += [f"{key} = {_toml(value)}" for key, value in changes.items() if not _tabled(value) and value != ()]
    for key, value in changes.items():
        for item in value if _tabled(value) else ():
            stated = {name: held for name, held in asdict(item).items() if held not in ("", None)}
            lines += ["", f"[[quantize.{key}]]", *(f"{name} = {_toml(held)}" for name, held in stated.items())]
    return "\n".join(lines) + "\n"


def _tabled(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def _toml(value: Any) -> str:
    """A value of a field; TOML's basic strings, numbers and booleans are spelled as JSON's."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def stated(recipe: Recipe | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `Quantize`: the recipe's, then `changes`, which win; overrides of layers come one after the other."""
    found = dict(recipe.quantize) if recipe is not None else {}
    layers = (*found.get("layers", ()), *changes.get("layers", ()))
    found.update(changes)
    return found | ({"layers": layers} if layers else {})


def asked(recipe: Recipe | None, changes: Mapping[str, Any]) -> Quantize:
    """See `stated`. Raises UsageError for what cannot be meant."""
    from bessemer.quantize.levels import Quantize

    return Quantize(**stated(recipe, changes))
