"""A plan of how models are joined: which files, and what flows where. Everything is spelled out; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bessemer.ir.errors import UnreadableInput

KEY = "bessemer_join"
"""First key of the file, by which it is recognised; its value is the version."""
LARGEST = 1 << 22
"""Bytes of a plan."""


CASTS = (
    "bool", "bfloat16", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64",
)  # fmt: skip


class Record(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(Record):
    """One model. path: relative to the plan's folder; label: what wires call it."""

    label: str
    path: str
    format: str
    bytes: int
    sha256: str
    signature: str | None = None


class Place(Record):
    """An input or an output of a member."""

    model: str
    tensor: str


class Scale(Record):
    """What integers mean: scale * (integer - zero_point)."""

    scale: float = Field(gt=0, allow_inf_nan=False)
    zero_point: int
    dtype: Literal["int8", "uint8", "int16", "uint16"]


class Wire(Record):
    """Where an input of a member comes from: an output of an earlier one, or an input that both share.

    order: input = transpose(source, order); dequantize, quantize: integers of the source, or of the input, stand for the
    reals at the other end; cast: the input's type where it differs from what then arrives.
    """

    to: Place
    output: Place | None = None
    shared: Place | None = None
    order: tuple[int, ...] | None = None
    dequantize: Scale | None = None
    quantize: Scale | None = None
    cast: str = ""

    @property
    def source(self) -> Place:
        """The end that gives. Raises ValueError for a wire that has none."""
        found = self.output or self.shared
        if found is None:
            raise ValueError(f"nothing feeds {self.to.model}:{self.to.tensor}")
        return found


class Border(Record):
    """A name of the joined model, and the member's tensor behind it."""

    name: str
    place: Place


class Plan(Record):
    """The whole file."""

    bessemer_join: int = Field(1, ge=1, le=1)
    models: tuple[Member, ...] = Field(min_length=1, max_length=256)
    wires: tuple[Wire, ...]
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...] = Field(min_length=1)


def read(path: Path) -> Plan:
    """The plan of a file. Raises UnreadableInput for a broken one."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has over {LARGEST} bytes")
        plan = Plan.model_validate_json(path.read_bytes())
        _check(plan)
    except (ValidationError, ValueError) as error:
        why = str(error).replace("\n", " ")[:300]
        raise UnreadableInput(f"{path} is no consistent plan of a join", why=why) from None
    return plan


def _check(plan: Plan) -> None:
    """Labels once, borders once, wires only from earlier members."""
    order = {member.label: place for place, member in enumerate(plan.models)}
    if len(order) != len(plan.models):
        raise ValueError("two models have one label")
    for borders in (plan.inputs, plan.outputs):
        if len({border.name for border in borders}) != len(borders):
            raise ValueError("two borders have one name")
    fed: set[tuple[str, str]] = set()
    for wire in plan.wires:
        key = (wire.to.model, wire.to.tensor)
        if wire.to.model not in order or wire.source.model not in order or key in fed:
            raise ValueError(f"the wire to {wire.to.model}:{wire.to.tensor} leads nowhere, or there are two")
        if order[wire.source.model] >= order[wire.to.model]:
            raise ValueError(f"{wire.to.model} reads {wire.source.model}, which does not stand before it")
        fed.add(key)
        if wire.order is not None and sorted(wire.order) != list(range(len(wire.order))):
            raise ValueError(f"{list(wire.order)} is no order of axes")
        if wire.cast and wire.cast not in CASTS:
            raise ValueError(f"nothing is cast to '{wire.cast}'")
    for border in (*plan.inputs, *plan.outputs):
        if border.place.model not in order:
            raise ValueError(f"there is no model '{border.place.model}'")
