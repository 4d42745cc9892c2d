"""What the targets share that store weights as plain numbers: which type each tensor gets, and the files that go along."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from bessemer.architectures.pooling import files
from bessemer.ir.checkpoint import Bytes, Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined
from bessemer.targets.base import PreparedWeights
from bessemer.weights.views import FLOATING, floats, is_plain, row_bytes

Precision = Literal["keep", "float32", "float16", "bfloat16"]
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Widest first."""
SMALL_FLOATS = ("F8_E4M3", "F8_E5M2", "F8_E8M0")
HALF = 65504.0
"""The largest float16."""


class PlainOptions(BaseModel):
    """precision: of all floating weights; `keep` stores each as the source does, blocks (Q4_K, ...) as float32."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision = "keep"


@dataclass(frozen=True)
class Plan:
    """What a target will write: tensors of the types that they will have, and the checkpoint for what goes along."""

    checkpoint: Checkpoint
    tensors: tuple[Lazy, ...]
    config: Mapping[str, Any]

    def prepared(self, payload: Any, precision: str, nbytes: int, notes: Sequence[str]) -> PreparedWeights:
        """For the report. What was kept is called by the type of most weights."""
        types = dict(Counter(tensor.type for tensor in self.tensors).most_common())
        elements: Counter[str] = Counter()
        for tensor in self.tensors:
            elements[tensor.type] += tensor.size
        most = elements.most_common(1)[0][0]
        named = NAMES.get(most, most) if precision == "keep" else precision
        return PreparedWeights(payload, named, types, nbytes, elements.total(), list(notes))


def planned(checkpoint: Checkpoint, precision: str, native: Collection[str], target: str) -> tuple[Plan, list[str]]:
    """Types of all tensors. native: types that the format stores; others become float32 where that is exact.

    Raises Declined for a GGUF that has no form in Hugging Face's names, for a file without weights, and for types that
    neither the format nor float32 can hold.
    """
    refusal = checkpoint.records.refusal if checkpoint.records is not None else None
    if refusal is not None and checkpoint.records.tensors:
        raise refusal
    if not checkpoint.tensors:
        raise Declined(target, [Blocker("", "checkpoint", "no-weights", f"{checkpoint.origin.path.name} holds no weights")])
    wanted = {name: _type(tensor, precision, native) for name, tensor in checkpoint.tensors.items()}
    strange = [
        Blocker(name, "tensor", "type", f"it has the type {checkpoint.tensors[name].type}")
        for name, kind in wanted.items()
        if not kind
    ]
    if strange:
        raise Declined(target, strange)
    tensors = tuple(as_type(replace(tensor, name=name), wanted[name]) for name, tensor in checkpoint.tensors.items())
    config = with_type(checkpoint.config, tensors, precision)
    return Plan(checkpoint, tensors, config), _notes(checkpoint, wanted, precision)


def _type(tensor: Lazy, precision: str, native: Collection[str]) -> str:
    """The type to store; '' for one that cannot be."""
    floating = tensor.type in (*FLOATING, *SMALL_FLOATS) or not is_plain(tensor.type)
    wanted = TYPES[precision] if floating and precision != "keep" else tensor.type
    if wanted in native:
        return wanted
    return "F32" if floating and wanted != "F64" else ""


def _notes(checkpoint: Checkpoint, wanted: Mapping[str, str], precision: str) -> list[str]:
    """Types that `keep` could not keep."""
    changed = Counter(
        tensor.type for name, tensor in checkpoint.tensors.items() if tensor.type != wanted[name] and precision == "keep"
    )
    told = ", ".join(f"{count} of {kind}" for kind, count in changed.most_common())
    return [f"Stored as float32, which holds their values exactly: {told}"] if told else []


def as_type(tensor: Lazy, kind: str) -> Lazy:
    """The values as another floating type. Reading raises Declined for what float16 would turn into infinity."""
    if tensor.type == kind:
        return tensor
    if kind == "F64":
        raise ValueError(f"{tensor.name} is {tensor.type}, and would become float64")
    return replace(tensor, type=kind, row_bytes=row_bytes(kind, tensor.columns), read=_Converted(tensor, kind).read)


@dataclass(frozen=True)
class _Converted:
    tensor: Lazy
    kind: str

    def read(self, start: int, stop: int) -> Bytes:
        """Rows in the other type."""
        from bessemer.blocks import encoded

        values = np.ascontiguousarray(floats(self.tensor, start, stop))
        if self.kind == "F32":
            return values.view(np.uint8)
        if self.kind == "F16":
            self._refuse_overflow(values)
        return encoded(values, self.kind)

    def _refuse_overflow(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        if not values.size or max(float(values.max()), -float(values.min())) <= HALF:
            return
        largest = float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
        if largest > HALF:
            reason = f"it holds {largest:g}, and float16 ends at {HALF:g}"
            raise Declined("float16", [Blocker(self.tensor.name, "tensor", "range", reason, rewrite="precision=bfloat16")])


def with_type(config: Mapping[str, Any], tensors: Sequence[Lazy], precision: str) -> dict[str, Any]:
    """config.json that says the type of the weights: the chosen one, or the widest where the config says none."""
    key = next((key for key in ("dtype", "torch_dtype") if config.get(key) is not None), "torch_dtype")
    if not config or (precision == "keep" and config.get(key) is not None):
        return dict(config)
    held = {tensor.type for tensor in tensors}
    widest = next((name for kind, name in NAMES.items() if kind in held), None)
    return {**config, key: widest} if widest else dict(config)


def write_beside(plan: Plan, folder: Path) -> list[Path]:
    """config.json, generation_config.json, adapter_config.json, the tokenizer's files and other companions."""
    checkpoint = plan.checkpoint
    objects = {
        "config.json": dict(plan.config), "generation_config.json": checkpoint.generation,
        "adapter_config.json": dict(checkpoint.adapter.config) if checkpoint.adapter else {}, **files(plan.config),
    }  # fmt: skip
    written = [_json(folder / name, held) for name, held in objects.items() if held]
    if checkpoint.tokenizer is not None:
        from bessemer.tokenization import write_files

        written += write_files(checkpoint.tokenizer, folder, plan.config)
    names = {path.name for path in written}
    written += [
        Path(shutil.copyfile(path, folder / path.name)) for path in checkpoint.companions if path.name not in names
    ]
    return written


def _json(path: Path, held: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(held, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def stem_of(plan: Plan) -> str:
    """What the file of weights is called in a directory of Hugging Face."""
    return "adapter_model" if plan.checkpoint.adapter is not None else "model"
