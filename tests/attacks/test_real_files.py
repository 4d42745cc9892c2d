"""Real model files, damaged: each copy ends in a clean refusal or a success, in bounds of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_files import cases, structural

from bessemer.ir.errors import BessemerError
from bessemer.opening import open_model
from bessemer.sources.base import OpenOptions

FUZZER = Path(__file__).with_name("fuzz_files.py")
FILES = (
    "onnx_graphs/burn_onnx_tests/attention/attention_softcap.onnx",
    "onnx_graphs/burn_onnx_tests/conv2d/conv2d.onnx",
    "mcu_models/tflite_micro/hello_world_int8.tflite",
    "mcu_models/tflite_micro/micro_speech_quantized.tflite",
    "mcu_models/mlperf_tiny/kws_model.h5",
)
HARMLESS = ("pytorch_model.bin", "new_pytorch_model.bin", "int_arrays.npz", "int_arrays_compressed.npz")
"""Weights without a computation: they are read, and what uses them has to be said."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name: str, real_asset: Callable[[str], Path]) -> None:
    command = [sys.executable, str(FUZZER), str(real_asset(name)), "--flips", "60", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died at {lines[-1:]}: {done.stderr[-500:]}"
    faults = [line for line in lines if "fault" in line]
    assert not faults, faults[0]["fault"]
    assert len(lines) == 64 + 60


def test_the_damage_is_reproducible_and_aims_at_the_structure() -> None:
    data = bytes(range(256)) * 8 + b"\x10\x00\x00\x00TFL3" + bytes([0x12, 4]) + b"name"
    first, again, other = (list(cases(data, seed, 40)) for seed in (1, 1, 2))
    assert first == again
    assert first[:64] == other[:64]
    assert first[64:] != other[64:]
    assert [len(case) for case in first[:64]] == [len(data) * part // 64 for part in range(64)]
    assert all(1 <= sum(a != b for a, b in zip(case, data, strict=True)) <= 8 or case == data for case in first[64:])
    assert data.index(b"TFL3") - 4 in structural(data)
    assert data.index(b"name") - 1 in structural(data)


def test_the_hostile_collection(real_asset: Callable[[str], Path]) -> None:
    """Pickles that run code, archives that lie, malformed flatbuffers: none opens, each is named for what it is."""
    files = [path for path in sorted(real_asset("security").rglob("*")) if path.is_file()]
    assert files
    for path in files:
        with pytest.raises(BessemerError) as error:
            open_model(path, OpenOptions())
        wanted = (2,) if path.name in HARMLESS else (3, 5)
        assert error.value.exit_code in wanted, f"{path.name}: {error.value}"
        assert path.name in str(error.value)
