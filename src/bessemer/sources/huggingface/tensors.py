"""Tensors of a model directory by name, read when they are wanted; neither torch nor transformers is needed."""

from __future__ import annotations

from pathlib import Path

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.sources.huggingface.directory import Weights


def tensors_of(weights: Weights) -> dict[str, Lazy]:
    """All files' tensors; where two hold one of the same name, the index says which counts. Raises UnreadableInput."""
    found: dict[str, Lazy] = {}
    owners: dict[str, Path] = {}
    for file in weights.files:
        for name, tensor in of_file(file).items():
            if name in found and (weights.places is None or weights.places.get(name) == owners[name]):
                continue
            found[name], owners[name] = tensor, file
    lacking = sorted(set(weights.places or ()) - set(found))
    if lacking:
        raise UnreadableInput(
            f"{len(lacking)} tensors are not in the files that the index names", where=", ".join(lacking[:3])
        )
    return found


def of_file(file: Path) -> dict[str, Lazy]:
    """The tensors of one file that transformers or PEFT wrote. Raises UnreadableInput."""
    from bessemer.sources.torch.tensors import pickled, safetensors

    if file.suffix == ".safetensors":
        return safetensors(file)[0]
    found = pickled(file)
    nested = next((place for place in found if len(place) != 1), None)
    if nested is not None:
        raise UnreadableInput(
            f"{file} is no plain state dict", where=".".join(nested)[:200],
            why="transformers saves tensors by name, and these lie in containers within one another",
        )  # fmt: skip
    return {place[0]: tensor for place, tensor in found.items()}
