"""Weight files read by the library that their users read them with: safetensors, torch, numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bessemer.ir.checkpoint import Lazy
from bessemer.weights.views import from_array

Tensors = dict[str, Lazy]


def read_back(target: str, files: tuple[Path, ...]) -> tuple[str, Tensors] | None:
    """The library's name with its version, and what it reads from the artifact's files; None where it is not installed, or
    the target has none."""
    if target not in _READERS:
        return None
    library, suffix, read = _READERS[target]
    try:
        name = f"{library} {version(library)}"
        found: Tensors = {}
        for file in files:
            if file.suffix == suffix:
                found |= read(file)
    except (PackageNotFoundError, ImportError):
        return None
    return name, found


def _numpy(file: Path) -> Tensors:
    import numpy as np

    with np.load(file) as archive:
        members = {name: archive[name] for name in archive.files}
    return {name: from_array(name, values) for name, values in members.items()}


def _safetensors(file: Path) -> Tensors:
    import ml_dtypes  # noqa: F401  # teaches numpy bfloat16, which safetensors asks for by name
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as archive:
        return {name: from_array(name, archive.get_tensor(name)) for name in archive.keys()}  # noqa: SIM118


def _torch(file: Path) -> Tensors:
    import torch

    held: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return {name: _of_torch(name, tensor) for name, tensor in held.items()}


def _of_torch(name: str, tensor: Any) -> Lazy:
    import ml_dtypes
    import numpy as np
    import torch

    kinds = {torch.bfloat16: ("int16", ml_dtypes.bfloat16), torch.float8_e4m3fn: ("uint8", ml_dtypes.float8_e4m3fn),
             torch.float8_e5m2: ("uint8", ml_dtypes.float8_e5m2)}  # fmt: skip
    if tensor.dtype not in kinds:
        return from_array(name, np.asarray(tensor.numpy()))
    carrier, kind = kinds[tensor.dtype]
    return from_array(name, tensor.view(getattr(torch, carrier)).numpy().view(kind))


_READERS: dict[str, tuple[str, str, Callable[[Path], Tensors]]] = {
    "npz": ("numpy", ".npz", _numpy),
    "safetensors": ("safetensors", ".safetensors", _safetensors),
    "pytorch": ("torch", ".bin", _torch),
}
"""Target -> the library, the suffix of its files, how it reads one."""
