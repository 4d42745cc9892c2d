"""Tensors of a model directory by name, read when they are wanted; neither torch nor transformers is needed."""

from __future__ import annotations

from pathlib import Path

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.errors import UnreadableInput
from bessemer.sources.huggingface.directory import Weights


def tensors_of(weights: Weights) -> dict[str, Lazy]:
    """Each from the file that the index names, where there is one. Raises UnreadableInput."""
    places = weights.places or {}
    found: dict[str, Lazy] = {}
    for file in weights.files:
        found |= {name: tensor for name, tensor in of_file(file).items() if places.get(name, file) == file}
    lacking = sorted(set(places) - set(found))
    if lacking:
        raise UnreadableInput(
            f"{len(lacking)} tensors are not in the files that the index names", where=", ".join(lacking[:3])
        )
    return found


def of_file(file: Path) -> dict[str, Lazy]:
    """The tensors of one file that transformers, PEFT or we wrote. Raises UnreadableInput."""
    from bessemer.sources.npz import arrays
    from bessemer.sources.torch.tensors import pickled, safetensors

    if file.suffix == ".safetensors":
        return safetensors(file)[0]
    if file.suffix == ".npz":
        return arrays(file)
    found = pickled(file)
    nested = next((place for place in found if len(place) != 1), None)
    if nested is not None:
        raise UnreadableInput(
            f"{file} is no plain state dict", where=".".join(nested)[:200],
            why="transformers saves tensors by name, and these lie in containers within one another",
        )  # fmt: skip
    return {place[0]: tensor for place, tensor in found.items()}
