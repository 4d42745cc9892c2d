"""The ONNX changelog against the adapters: a change that alters words or defaults must be somebody's."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import onnx.defs

from bessemer.passes.opset import downgrades, upgrades  # noqa: F401  # registers the adapters
from bessemer.passes.opset.registry import UPGRADES

NOTHING_SAID = {
    ("Dropout", 10): "the mask became bool; in inference its content is nobody's",
    ("Erf", 13): "integer types were dropped, no runtime had them",
    ("ReduceLogSum", 28): "integer types were dropped, no runtime had them",
    ("ReduceLogSumExp", 28): "integer types were dropped, no runtime had them",
}
"""Changes that take something away and need no adapter, with the reason."""


def test_every_change_that_takes_words_away_or_moves_a_default_has_an_adapter() -> None:
    missing = {change: why for change, why in _hard_changes() if change not in UPGRADES}
    assert missing.keys() == NOTHING_SAID.keys(), missing


def test_every_adapter_stands_at_a_version_where_its_operator_changed() -> None:
    versions = {(op, schema.since_version) for op, schemas in _history().items() for schema in schemas}
    assert UPGRADES.keys() <= versions


def _history() -> dict[str, list[Any]]:
    found = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name].append(schema)
    return {op: sorted(schemas, key=lambda schema: schema.since_version) for op, schemas in found.items()}


def _hard_changes() -> Iterator[tuple[tuple[str, int], str]]:
    for op, schemas in _history().items():
        for old, new in itertools.pairwise(schemas):
            why = _what_is_lost(old, new)
            if new.since_version > 7 and why:
                yield (op, new.since_version), why


def _what_is_lost(old: Any, new: Any) -> str:
    for name, attribute in old.attributes.items():
        if name not in new.attributes:
            return f"attribute {name} went"
        if attribute.default_value != new.attributes[name].default_value:
            return f"attribute {name} has another default"
    if new.deprecated and not old.deprecated:
        return "deprecated"
    if len(new.outputs) < len(old.outputs):
        return "outputs went"
    pairs = zip([*old.inputs, *old.outputs], [*new.inputs, *new.outputs], strict=False)
    if len(old.inputs) == len(new.inputs) and any(_types(old, a) - _types(new, b) for a, b in pairs):
        return "types went"
    return ""


def _types(schema: Any, formal: Any) -> set[str]:
    allowed = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
    return allowed.get(formal.type_str, {formal.type_str})
