"""What lies in a model directory: weights that transformers knows, models in other formats, files that go along.

Names are those that `save_pretrained` writes. Nothing outside the directory is read: a link may only lead to another
place in it, or to the `blobs` of the cache that the directory is a snapshot of.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from bessemer.ir.errors import UnreadableInput, UsageError

CONFIG = "config.json"
WEIGHTS: tuple[tuple[Literal["safetensors", "bin"], str], ...] = (
    ("safetensors", "model.safetensors"),
    ("bin", "pytorch_model.bin"),
)
INDEX = ".index.json"
FOREIGN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ONNX", ("model.onnx", "onnx/model.onnx", "*.onnx", "onnx/*.onnx")),
    ("TFLite", ("model.tflite", "*.tflite", "tflite/*.tflite")),
    ("Keras", ("*.keras", "*.h5")),
    ("SavedModel", ("saved_model", "saved_model/1")),
    ("PyTorch", ("*.pt2", "*.pt")),
    ("GGUF", ("*.gguf",)),
)
"""Other formats, the preferred one first, and where they lie."""
LONE = (
    "model.safetensors", "pytorch_model.bin", "model.npz", "adapter_model.safetensors", "adapter_model.bin",
    "adapter_model.npz", "model.safetensors.index.json", "pytorch_model.bin.index.json",
)  # fmt: skip
"""Weights that make a directory one of a model, with or without settings."""
LATER = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
"""Parts of a GGUF model behind the first, which stands for all."""
COMPANIONS = (
    CONFIG, "generation_config.json", "genai_config.json", "tokenizer*.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.*", "vocab*.txt", "merges.txt", "bpe.codes", "spiece.model", "sentencepiece*.model",
    "source.spm", "target.spm", "target_vocab.json", "chat_template.*", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json", "normalizer.json",
)  # fmt: skip
"""What a user of the artifact needs beside it."""
LARGEST_COMPANION = 1 << 28
LARGEST_JSON = 1 << 24
DEEPEST_JSON = 64


@dataclass(frozen=True)
class Weights:
    """Files of tensors. kind: how they are read; places: tensor -> file where an index says so."""

    kind: Literal["safetensors", "bin"]
    files: tuple[Path, ...]
    places: dict[str, Path] | None = None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.stat().st_size for file in self.files)


def looks_like(entries: tuple[str, ...]) -> bool:
    """Whether a directory with these names is one of a model."""
    known = {CONFIG, "genai_config.json", "adapter_config.json", *LONE}
    if "params.json" in entries and {"consolidated.00.pth", "consolidated.safetensors"} & set(entries):
        return True
    suffixes = (".onnx", ".tflite", ".gguf", ".keras", ".pt2")
    return bool(known & set(entries)) or "onnx" in entries or any(name.endswith(suffixes) for name in entries)


def weights_of(directory: Path) -> Weights | None:
    """Weights in a layout that transformers writes; None where there are none. Raises UnreadableInput."""
    for kind, name in WEIGHTS:
        if (directory / name).is_file():
            return Weights(kind, (contained(directory / name, directory),))
        if (directory / (name + INDEX)).is_file():
            return _sharded(directory, kind, name + INDEX)
    return None


def _sharded(directory: Path, kind: Literal["safetensors", "bin"], index: str) -> Weights:
    held = read_json(directory, index).get("weight_map")
    if not isinstance(held, dict) or not held or not all(isinstance(value, str) for value in held.values()):
        raise UnreadableInput(f"{directory / index} has no 'weight_map' from tensors to files")
    places = {}
    for name, file in held.items():
        if Path(file).name != file:
            raise UnreadableInput(f"{directory / index} leads out of its directory", where=f"'{name}' in '{file[:200]}'")
        places[name] = directory / file
    missing = sorted({place.name for place in places.values() if not place.is_file()})
    if missing:
        raise UnreadableInput(
            f"{directory} lacks {len(missing)} of its weight files", where=", ".join(missing[:5]),
            fix="Complete the download",
        )  # fmt: skip
    files = tuple(sorted({contained(place, directory) for place in places.values()}))
    return Weights(kind, files, places)


def foreign_model(directory: Path) -> tuple[Path, str] | None:
    """A model in another format, and its name. Raises UsageError where several of one format lie there."""
    for title, patterns in FOREIGN:
        for pattern in patterns:
            found = sorted(path for path in directory.glob(pattern) if path.exists() and not LATER.search(path.name))
            if len(found) > 1:
                names = ", ".join(str(path.relative_to(directory)) for path in found)
                raise UsageError(f"{directory} holds several {title} models: {names}", fix="Name one of these files")
            if found:
                return contained(found[0], directory), title
    return None


def stand_in(directory: Path) -> Path | None:
    """The file of another format that is used where there are no weights for transformers. Raises as `foreign_model`."""
    if (directory / CONFIG).is_file() and weights_of(directory) is not None:
        return None
    found = foreign_model(directory)
    return None if found is None else found[0]


def companions_of(directory: Path) -> tuple[Path, ...]:
    """Files that go along with every artifact, in order of their names. Raises UnreadableInput for links that leave."""
    found = []
    for path in sorted(directory.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in COMPANIONS) and path.is_file():
            contained(path, directory)
            if path.stat().st_size > LARGEST_COMPANION:
                raise UnreadableInput(f"{path} has {path.stat().st_size} bytes", why="no tokenizer or setting is as large")
            found.append(path)
    return tuple(found)


def contained(path: Path, directory: Path) -> Path:
    """The path, if what it leads to lies in the directory or in the blobs of its cache. Raises UnreadableInput."""
    real, home = path.resolve(), directory.resolve()
    if real.is_relative_to(home) or real.is_relative_to(home.parent.parent / "blobs"):
        return path
    raise UnreadableInput(f"{path} is a link that leads out of its directory", where=str(real))


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """An object from a JSON file, bounded in size and depth. Raises UnreadableInput."""
    held = read_any_json(directory, name)
    if not isinstance(held, dict):
        raise UnreadableInput(f"{directory / name} holds {type(held).__name__}, not an object of settings")
    return held


def read_any_json(directory: Path, name: str) -> Any:
    """What a JSON file holds, bounded in size and depth. Raises UnreadableInput."""
    path = contained(directory / name, directory)
    if path.stat().st_size > LARGEST_JSON:
        raise UnreadableInput(f"{path} has {path.stat().st_size} bytes", why=f"at most {LARGEST_JSON} are read")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UnreadableInput(f"{path} is no readable JSON", why=str(error)[:200]) from None
    if _deeper(held, DEEPEST_JSON):
        raise UnreadableInput(f"{path} is nested more than {DEEPEST_JSON} deep")
    return held


def _deeper(held: Any, limit: int) -> bool:
    level = [held]
    for _ in range(limit):
        level = [
            item
            for part in level
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
