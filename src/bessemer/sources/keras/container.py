"""What a Keras file holds: the model's config, its weights and who wrote it, from .h5 and from .keras."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput
from bessemer.wire.errors import WireError
from bessemer.wire.hdf5 import Dataset, Group, read

WAY_OUT = "Load it in Keras into the model whose weights these are, and save the whole: model.save('model.keras')"
MAX_CONFIG = 256 << 20


@dataclass(frozen=True)
class Container:
    """config: {'class_name', 'config', ...} of the model. generation: Keras's major version, 1 to 3.

    weights: the group in which weights stand by names (`tree` False) or by their places in the model (True).
    """

    path: Path
    config: dict[str, Any]
    version: str
    generation: int
    backend: str
    weights: Group
    tree: bool
    details: dict[str, Any] = field(default_factory=dict)


def open_container(path: Path) -> Container:
    """The contents of a .h5, .hdf5 or .keras file. Raises UnreadableInput."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    try:
        return _from_zip(path) if zipped else _from_hdf5(path)
    except WireError as error:
        kind = "Keras archive" if zipped else "HDF5 file"
        raise UnreadableInput(f"{path} is a broken or hostile {kind}", why=str(error)) from None


def _from_zip(path: Path) -> Container:
    from bessemer.wire.zipped import Archive

    archive = Archive(path)
    if "model.weights.h5" not in archive:
        raise UnreadableInput(
            f"{path} has no weights in 'model.weights.h5'", fix="Save the model again as one file: model.save('m.keras')"
        )
    config = _parsed(archive.read("config.json"), path, "config.json")
    metadata = _parsed(archive.read("metadata.json"), path, "metadata.json") if "metadata.json" in archive else {}
    version = str(metadata.get("keras_version") or "3")
    root = read(archive.read("model.weights.h5"))
    return Container(path, config, version, _generation(version), "", root, True, {"container": ".keras"})


def _from_hdf5(path: Path) -> Container:
    root = read(path)
    held = root.attribute("model_config")
    if held is None:
        raise _no_model(root, path)
    config = _parsed(_bytes(held), path, "model_config")
    weights = root.get("model_weights") or root
    if not isinstance(weights, Group):
        raise UnreadableInput(f"{path} is broken or hostile", why="its 'model_weights' is no group")
    version = text(root, "keras_version") or text(weights, "keras_version") or "1"
    backend = text(root, "backend") or text(weights, "backend") or ""
    details = {"container": "HDF5", "backend": backend or "not stated"}
    return Container(path, config, version, _generation(version), backend, weights, False, details)


def _no_model(root: Group, path: Path) -> UnreadableInput:
    if root.attribute("layer_names") is not None or "layers" in root or "_layer_checkpoint_dependencies" in root:
        return UnreadableInput(f"{path} holds the weights of a Keras model, not the model", fix=WAY_OUT)
    if root.attribute("layer_names0") is not None:
        return UnreadableInput(f"{path} holds the weights of a Keras model, not the model", fix=WAY_OUT)
    return UnreadableInput(
        f"{path} is an HDF5 file without a Keras model", why="it has no attribute 'model_config'", fix=WAY_OUT
    )


def text(group: Group, name: str) -> str:
    """An attribute of text, '' where there is none."""
    held = group.attribute(name)
    return held if isinstance(held, str) else ""


def texts(group: Group, name: str) -> list[str] | None:
    """An attribute that lists names; Keras cuts a long one into name0, name1, ... None where there is none."""
    held = group.attribute(name)
    if held is not None:
        return [str(item) for item in held.reshape(-1)]
    found: list[str] = []
    count = 0
    while (part := group.attribute(f"{name}{count}")) is not None:
        found += [str(item) for item in part.reshape(-1)]
        count += 1
    return found if count else None


def array(group: Group, name: str) -> Any:
    """A dataset's elements in the machine's byte order. Raises WireError."""
    held = group[name]
    if not isinstance(held, Dataset):
        raise WireError(f"'{name}' is no dataset", where=group.path)
    found = held.read()
    if found.dtype == "V2":  # how numpy hands a bfloat16 array over, whose type HDF5 has no name for
        import ml_dtypes

        found = found.view(ml_dtypes.bfloat16)
    if found.dtype == object or found.dtype.name.startswith("void"):
        raise WireError(f"'{name}' holds no numbers", where=group.path)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _bytes(held: Any) -> bytes | str:
    return held if isinstance(held, str) else bytes(held)


def _parsed(data: bytes | str | memoryview, path: Path, name: str) -> dict[str, Any]:
    size = len(data)
    try:
        if size > MAX_CONFIG:
            raise ValueError(f"{size} bytes of JSON")
        found = json.loads(data if isinstance(data, str) else bytes(data))
    except (ValueError, RecursionError) as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=f"its {name} is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise UnreadableInput(f"{path} is broken or hostile", why=f"its {name} is no object")
    return found


def _generation(version: str) -> int:
    first = version.split(".")[0]
    return min(max(int(first), 1), 3) if first.isascii() and first.isdigit() else 2
