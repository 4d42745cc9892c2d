"""Files of weights as checkpoints: a lone .safetensors, or a state dict that is never unpickled.

Names stay as they are. Settings and tokenizer are those of a config.json beside the file; without one the settings are {}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bessemer.ir.checkpoint import Adapter, Checkpoint, Lazy
from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.model import Origin
from bessemer.sources.base import HEAD, Clue, OpenOptions
from bessemer.sources.torch.kinds import kind_of

SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(safetensors|bin)$")
MODELS = ("model", "state_dict", "model_state_dict", "module", "net", "params", "params_ema", "generator", "ema")
"""Keys under which training scripts save the weights of their model, beside an optimizer's and others."""


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The file's weights. options.signature: the place in a file that holds several state dicts ('model', 'ema').

    Raises UnreadableInput for broken and hostile files, Declined for pickled modules and tensors of unusual types,
    UsageError for files with a graph, a part of several, or a place that is not there.
    """
    kind = _kind(path)
    shard = SHARD.search(path.name)
    if shard and int(shard[2]) > 1:
        raise UsageError(f"{path} is one of {int(shard[2])} parts of a model", fix=f"Give the directory {path.parent}")
    if kind == "safetensors":
        from bessemer.sources.torch.tensors import safetensors

        tensors, texts = safetensors(path)
        said = ", ".join(f"{key}={text}" for key, text in texts.items())[:200]
        return beside("torch", path, tensors, {"metadata": said} if said else {}, [])
    if kind == "weights":
        return _pickled(path, options)
    raise UsageError(f"{path} holds a program and not weights by name", fix="Convert it to a target that takes graphs")


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        return kind_of(Clue(path, file.read(HEAD)))


def _pickled(path: Path, options: OpenOptions) -> Checkpoint:
    from bessemer.sources.llama2c.consolidated import of_pickle
    from bessemer.sources.torch.tensors import lazies
    from bessemer.sources.torch.weights import load
    from bessemer.wire.torchzip import read

    found = lazies(path, load(path))
    place, notes = _place(path, found, options.signature)
    tensors = {".".join(key[len(place) :]): tensor for key, tensor in found.items() if key[: len(place)] == place}
    llama = of_pickle(path, read(path).values, tensors)
    return beside("torch", path, tensors, {}, notes) if llama is None else llama


def _place(path: Path, found: Mapping[tuple[str, ...], Lazy], wanted: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The keys that lead to the weights: those asked for, the one container that holds tensors, or a model's usual key."""
    if wanted is not None:
        place = tuple(wanted.split("."))
        if not any(key[: len(place)] == place and len(key) > len(place) for key in found):
            held = ", ".join(sorted({key[0] for key in found if len(key) > 1})) or "none"
            raise UsageError(f"{path} has no weights under '{wanted}'", why=f"containers of tensors in it: {held}")
        return place, []
    tops = dict.fromkeys(key[0] for key in found if len(key) > 1)
    usual = next((key for key in MODELS if key in tops), None)
    if usual is None:
        return (), []
    others = sum(key[0] != usual for key in found)
    left = f"; {others} other tensors of the file are left out (--signature names another place)" if others else ""
    return (usual,), [f"Weights are those under '{usual}'{left}"]


def beside(form: str, path: Path, tensors: dict[str, Lazy], details: dict[str, str], notes: list[str]) -> Checkpoint:
    """A file's tensors with the settings and the tokenizer that lie in the same directory. form: name of the source."""
    from bessemer.architectures.lora import recognised
    from bessemer.sources.huggingface.checkpoint import ADAPTER, ADAPTER_WEIGHTS, settings_of, tokenizer_of
    from bessemer.sources.huggingface.checkpoint import checkpoint as of_directory
    from bessemer.sources.huggingface.directory import CONFIG, companions_of, read_json

    folder = path.parent
    if path.name in ADAPTER_WEIGHTS and (folder / ADAPTER).is_file():
        return of_directory(folder, OpenOptions())
    if not tensors:
        raise UnreadableInput(f"{path} holds no tensors")
    origin = Origin(form, path, details)
    config = settings_of(folder)
    if recognised(tensors):
        said = read_json(folder, ADAPTER) if (folder / ADAPTER).is_file() else {}
        return Checkpoint(tensors, config, None, origin, adapter=Adapter(said), notes=notes)
    if not config:
        return Checkpoint(tensors, {}, None, origin, notes=notes)
    notes = [*notes, f"Settings are those of {CONFIG} beside it"]
    return Checkpoint(
        tensors, config, tokenizer_of(folder, config), origin, notes=notes, companions=companions_of(folder)
    )
