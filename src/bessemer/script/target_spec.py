"""`--to` on the command line: `onnx`, `onnx:fp16`, `onnx:opset=12,precision=float16`, `tflite:fp16,io=nhwc`.

A bare word is a precision, `key=value` an option of the target. The target itself validates keys and values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches

from bessemer.ir.errors import UsageError
from bessemer.targets import FILE_TYPES

PRECISIONS = {
    "fp32": "float32", "f32": "float32", "float32": "float32",
    "fp16": "float16", "f16": "float16", "half": "float16", "float16": "float16",
    "bf16": "bfloat16", "bfloat16": "bfloat16",
    "mixed": "mixed", "int8": "int8", "uint8": "uint8", "int16": "int16", "int4": "int4",
    "int8-weights": "int8-weights", "int8-dynamic": "int8-dynamic", "fp8": "fp8", "float8": "fp8",
    "int16x8": "int16x8", "int8x4": "int8x4", "dynamic": "int8-dynamic", "keep": "keep",
    **{name.lower(): name for name in FILE_TYPES if name not in ("F32", "F16", "BF16")},
}  # fmt: skip
"""Bare words, and the precision that each of them names."""

LIST = ":"
"""Values of an option that takes several are joined by it (`keep=/head/MatMul:/head/Softmax`)."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class TargetSpec:
    """One target as written: its name, and options as text."""

    name: str
    options: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> TargetSpec:
    """Read one `--to`; raises UsageError that shows the grammar."""
    name, _, rest = text.strip().partition(":")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--to '{text}' names no target", fix="Write NAME, NAME:PRECISION or NAME:key=value,..."
        )
    options: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, value = _option(text, item)
        if key in options:
            raise UsageError(f"--to '{text}' says {key} twice", fix="Say it once")
        options[key] = value
    return TargetSpec(name, options)


def _option(text: str, item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        return "precision", _precision(text, item)
    key = key.strip().replace("-", "_")
    if not key or not value:
        raise UsageError(f"--to '{text}' has the option '{item}' without a {'value' if key else 'name'}")
    value = value.strip()
    return key, PRECISIONS.get(value.lower(), value) if key == "precision" else value


def _precision(text: str, word: str) -> str:
    found = PRECISIONS.get(word.lower())
    if found is None:
        near = get_close_matches(word.lower(), PRECISIONS, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(
            f"--to '{text}': '{word}' is neither a precision nor key=value",
            fix=f"{hint}Precisions: {', '.join(dict.fromkeys(PRECISIONS.values()))}",
        )
    return found
