"""Inputs that take a file's bytes: made-up WAV files for those that a model decodes, and the user's own files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.signature import Signature
from bessemer.ir.types import Array

if TYPE_CHECKING:
    import onnx_ir

RATE = 16_000
FILES = (".wav", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def samples_wanted(value: onnx_ir.Value) -> int:
    """How many samples a decoder that reads this input answers; 0 where none reads it."""
    for node, _ in value.uses():
        if node.op_type == "DecodeWav":
            shape = node.outputs[0].shape
            first = shape[0] if shape is not None and len(shape) else None
            return first if isinstance(first, int) and first > 0 else RATE
    return 0


def wav(count: int, kind: str, rng: np.random.Generator) -> bytes:
    """A mono file of 16-bit PCM at 16 kHz: noise whose power falls with the frequency, as that of speech does."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.arange(1, spectrum.size + 1))
    wave = np.fft.irfft(spectrum, count)
    peak = 0.999 if kind == "extreme" else 0.3
    pcm = np.round(wave / max(float(np.abs(wave).max()), 1e-12) * peak * 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    chunks = form + struct.pack("<4sI", b"data", len(pcm)) + pcm
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def as_input(data: bytes, shape: tuple[int, ...] = ()) -> Array:
    """The bytes as an array of one element (or of as many as `shape` has, all alike)."""
    made = np.empty(shape, object)
    made[...] = data
    return made


def files_of(path: Path, signature: Signature) -> list[Path]:
    """Files whose bytes the one text input of a model takes, by name; empty where it is no such input or no such data."""
    if len(signature.inputs) != 1 or signature.inputs[0].dtype != "str" or signature.inputs[0].shape:
        return []
    if path.is_file():
        return [path] if path.suffix.lower() in FILES else []
    here = sorted(item for item in path.iterdir() if item.suffix.lower() in FILES)
    return here or sorted(item for item in path.glob("*/*") if item.suffix.lower() in FILES)
