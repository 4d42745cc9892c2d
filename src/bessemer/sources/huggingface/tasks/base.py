"""What a task is: which class of transformers does it, what that is fed and what of its answer counts.

Names of inputs, outputs and axes are those that Optimum and ONNX Runtime GenAI use, so that their users find what they
look for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tensors = Mapping[str, Any]
BATCH, TOKENS, PAST = "batch_size", "sequence_length", "past_sequence_length"
EXAMPLE = {
    BATCH: 2, TOKENS: 7, PAST: 5, "encoder_sequence_length": 9, "decoder_sequence_length": 7, "height": 64, "width": 96,
    "text_batch_size": 2, "image_batch_size": 3, "num_samples": 4000, "num_frames": 60,
}  # fmt: skip
"""Sizes of free axes while a model is traced: different ones, so that none is taken for another."""


@dataclass(frozen=True)
class Port:
    """An input. axes: a number is fixed, a name is free; equal names have equal sizes, 'a + b' is their sum.

    rows: ids are below this; 0: no ids.
    """

    name: str
    kind: str
    axes: tuple[int | str, ...]
    rows: int = 0


@dataclass(frozen=True)
class Plan:
    """How a model does a task.

    model: the module whose weights are used; call: feeds by name -> answers by name, in order; sizes: of free axes while
    it is traced.
    """

    model: Any
    ports: tuple[Port, ...]
    call: Callable[[Tensors], dict[str, Any]]
    sizes: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """mapping: table of `transformers.models.auto.modeling_auto` from model type to class; keys: parts of the answer that
    become outputs, where they are there; plan: (model, keys) -> Plan; classes: others that do it, not in the table.

    offered: inferred from an architecture; else only by `--task`.
    """

    name: str
    title: str
    mapping: str
    keys: tuple[str, ...]
    plan: Callable[[Any, Sequence[str]], Plan]
    classes: tuple[str, ...] = ()
    offered: bool = True


def accepts(model: Any) -> set[str]:
    """Names of what the model's forward takes."""
    return set(inspect.signature(model.forward).parameters)


def picked(answer: Any, keys: Sequence[str]) -> dict[str, Any]:
    """The named tensors of an answer that are there. Raises ValueError where none is."""
    held = {key: answer.get(key) for key in keys}
    found = {key: value for key, value in held.items() if value is not None and hasattr(value, "dtype")}
    if not found:
        raise ValueError(f"the model answers none of {', '.join(keys)}, but {', '.join(answer.keys())}")
    return found


def size_of(config: Any, *names: str) -> Any:
    """The first of these settings that is there and not None."""
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None


def sized(axis: int | str, sizes: Mapping[str, int]) -> Any:
    """The size of an axis, a sum's from its terms; a name that `sizes` lacks stays one."""
    if not isinstance(axis, str):
        return axis
    terms = [int(term) if term.isdecimal() else sizes.get(term, term) for term in axis.split(" + ")]
    return sum(terms) if all(isinstance(term, int) for term in terms) else " + ".join(map(str, terms))


def bound(ports: Sequence[Port], shapes: Mapping[str, Sequence[Any]]) -> tuple[Port, ...]:
    """Ports with the sizes that a user fixed; the same name means the same size everywhere."""
    said = {
        axis: dim
        for port in ports
        for axis, dim in zip(port.axes, shapes.get(port.name, ()), strict=False)
        if isinstance(axis, str) and isinstance(dim, int)
    }
    return tuple(Port(port.name, port.kind, tuple(sized(axis, said) for axis in port.axes), port.rows) for port in ports)
