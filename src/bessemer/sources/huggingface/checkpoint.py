"""Model directories as checkpoints: tensors by name, settings and tokenizer, without transformers; adapters of PEFT, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.checkpoint import Adapter, Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.model import Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface.directory import (
    CONFIG,
    companions_of,
    contained,
    foreign_model,
    read_json,
    weights_of,
)
from bessemer.sources.huggingface.pooling import pooling_of
from bessemer.sources.huggingface.tensors import of_file, tensors_of

if TYPE_CHECKING:
    from bessemer.ir.tokenizer import Tokenizer

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.npz")
GENERATION = "generation_config.json"
ARRAYS = "model.npz"
"""Weights as the target `npz` writes them beside a config.json."""


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The directory's weights. Raises UnreadableInput for broken files, Declined for weights packed by another library."""
    config = settings_of(path)
    weights = weights_of(path)
    if weights is not None:
        return _model(path, config, tensors_of(weights), "safetensors" if weights.kind == "safetensors" else "PyTorch")
    if any((path / name).is_file() for name in (ADAPTER, *ADAPTER_WEIGHTS)):
        return _adapter(path, config)
    if (path / ARRAYS).is_file():
        return _model(path, config, of_file(contained(path / ARRAYS, path)), "npz")
    if (path / "params.json").is_file():
        from bessemer.sources.llama2c.consolidated import checkpoint as consolidated

        return consolidated(path)
    return _foreign(path, options)


def _foreign(path: Path, options: OpenOptions) -> Checkpoint:
    """Weights in another format's file."""
    from bessemer.sources.sniff import identify

    found = foreign_model(path)
    held = None if found is None else identify(found[0]).open_checkpoint(found[0], options)
    if found is None or held is None:
        raise UnreadableInput(
            f"{path} holds no weights by name", why="it has no model.safetensors, pytorch_model.bin, adapter or GGUF file",
            fix="Complete the download",
        )  # fmt: skip
    held.notes.insert(0, f"{path.name} holds no weights for transformers: its {found[1]} file {found[0].name} was used")
    return held


def _model(path: Path, config: dict[str, Any], tensors: dict[str, Lazy], stored: str) -> Checkpoint:
    if config.get("quantization_config") is not None:
        raise Declined("Reading this directory as a checkpoint", [_packed(config)])
    kind = str(config.get("model_type", ""))
    words = tokenizer_of(path, config)
    config = {**config, **pooling_of(path)}
    return Checkpoint(
        tensors, config, words, Origin("huggingface", path, {"weights": stored, "model_type": kind}),
        generation=read_json(path, GENERATION) if (path / GENERATION).is_file() else {},
        companions=companions_of(path), notes=[f"Tokenizer: {note}" for note in (words.notes if words else ())],
    )  # fmt: skip


def settings_of(path: Path) -> dict[str, Any]:
    """config.json of a directory; {} without one. Raises UnreadableInput where it names its architecture by no texts."""
    if not (path / CONFIG).is_file():
        return {}
    config = read_json(path, CONFIG)
    classes, kind = config.get("architectures") or [], config.get("model_type") or ""
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in (*classes, kind)):
        raise UnreadableInput(f"{path / CONFIG} is broken", why="'architectures' or 'model_type' is no name")
    return config


def tokenizer_of(path: Path, config: dict[str, Any]) -> Tokenizer | None:
    """The tokenizer in a directory; None where there is none. Raises Declined for one that cannot be said."""
    from bessemer.tokenization import from_directory

    return from_directory(path, config)


def _packed(config: dict[str, Any]) -> Blocker:
    said = config["quantization_config"]
    method = str(said.get("quant_method", "?") if isinstance(said, dict) else "?")[:40]
    return Blocker(
        "", str(config.get("model_type", ""))[:80], "quantized-checkpoint", f"its weights are packed by '{method}'",
        rewrite="the float weights it was made from",
    )  # fmt: skip


def _adapter(path: Path, config: dict[str, Any]) -> Checkpoint:
    """A PEFT adapter. config: of the model it belongs to, where its config.json lies beside."""
    said = read_json(path, ADAPTER) if (path / ADAPTER).is_file() else {}
    name = next((name for name in ADAPTER_WEIGHTS if (path / name).is_file()), None)
    if name is None:
        raise UnreadableInput(f"{path} has an {ADAPTER} and no weights", why=f"it lacks {' and '.join(ADAPTER_WEIGHTS)}")
    if str(said.get("peft_type", "LORA")).upper() != "LORA":
        blocker = Blocker("", str(said.get("peft_type"))[:40], "adapter", "only adapters of the type LORA are read")
        raise Declined("Reading this adapter", [blocker])
    details = {"weights": name, "base": str(said.get("base_model_name_or_path", ""))[:200]}
    tensors = of_file(contained(path / name, path))
    return Checkpoint(
        tensors, config, None, Origin("huggingface", path, details), adapter=Adapter(said), companions=companions_of(path)
    )
