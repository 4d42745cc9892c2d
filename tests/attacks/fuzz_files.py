"""Damage real model files and read them; the child of `test_real_files.py`, and a fuzzer of its own.

python tests/attacks/fuzz_files.py FILE... [--flips N] [--seed S] [--first K]

Each file is truncated at every 1/64 of its length, then damaged N times in one to eight bytes, half of them where the
format keeps lengths, offsets and tags. Every damaged copy is opened, normalised and prepared for `onnx` and `tflite`,
under a limit of memory and an alarm. One JSON object per line: {"file", "case", "fault"} for each fault, and
{"file", "case"} before each case, so that a death names its case too. `--first` skips the cases before it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from bessemer.ir.errors import BessemerError
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.sources.validity import blaming
from bessemer.targets.registry import find, validate

SECONDS = 5
BYTES = 1_000_000_000
SPECIAL = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
PREPARED = ("onnx", "tflite")


class TooLong(BaseException):
    """The alarm rang (no `except Exception` on the way may swallow it)."""


def ring(_number: int, _frame: object) -> NoReturn:
    raise TooLong


def cases(data: bytes, seed: int, flips: int) -> Iterator[bytes]:
    """Truncations, then flips; the same for the same arguments."""
    for part in range(64):
        yield data[: len(data) * part // 64]
    structure = structural(data)
    for number in range(flips):
        rng = random.Random(f"{seed}:{number}:{len(data)}")
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            place = rng.choice(structure) if structure and rng.random() < 0.5 else rng.randrange(len(data))
            damaged[place] = rng.choice(SPECIAL) if rng.random() < 0.5 else rng.randrange(256)
        yield bytes(damaged)


def structural(data: bytes) -> list[int]:
    """Places that look like lengths, offsets and tags: small little-endian words, and what frames text."""
    words = [
        place
        for place in range(0, min(len(data), 1 << 18) - 4, 4)
        if data[place + 2 : place + 4] in (b"\0\0", b"\xff\xff") and data[place : place + 2] != b"\0\0"
    ]
    texts = [
        place
        for place in range(1, min(len(data), 1 << 18) - 2)
        if data[place] < 0x40 and data[place - 1] & 7 == 2 and 0x20 < data[place + 1] < 0x7F
    ]
    return words + texts + list(range(min(64, len(data))))


def road(path: Path) -> str:
    """What went wrong: '' for success, and for a refusal with exit code 3 or 5."""
    try:
        model = open_model(path, ConvertOptions().opening)
        normalise(model, ConvertOptions())
    except BessemerError as error:
        return "" if error.exit_code in (3, 5) else f"exit code {error.exit_code}: {error}"
    return "; ".join(filter(None, (prepare(model, target) for target in PREPARED)))


def prepare(model: Model, name: str) -> str:
    """The same of one target."""
    target = find(name).load()
    try:
        with blaming(model.origin.path):
            copy = Model(model.graph.clone(), model.origin, list(model.notes))
            target.prepare(copy, validate(name, target, {}))
    except BessemerError as error:
        return "" if error.exit_code in (3, 5) else f"{name}: exit code {error.exit_code}: {error}"
    return ""


def judged(path: Path) -> str:
    """`road` with everything that may escape it."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return road(path)
    except TooLong:
        return f"more than {SECONDS} s of computing\n{traceback.format_exc(limit=-3)}"
    except Exception:  # noqa: BLE001  # any exception is what is looked for
        return traceback.format_exc(limit=-4)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGPROF, ring)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    told: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for file in arguments.files:
            copy = Path(folder) / file.name
            for number, data in enumerate(cases(file.read_bytes(), arguments.seed, arguments.flips)):
                if number < arguments.first:
                    continue
                print(json.dumps({"file": file.name, "case": number}), flush=True)
                copy.write_bytes(data)
                fault = judged(copy)
                told["faults" if fault else "clean"] += 1
                if fault:
                    print(json.dumps({"file": file.name, "case": number, "fault": fault}), flush=True)
    print(json.dumps(dict(told)), file=sys.stderr)


if __name__ == "__main__":
    main()
