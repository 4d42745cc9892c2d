"""Tensors of PyTorch's and safetensors' files as lazy ones: read from their places, never all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.weights.files import Checksum, FileBytes, stored_at
from bessemer.weights.views import NUMPY, row_bytes
from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.tensors import Tensor

KINDS = {name: kind for kind, name in NUMPY.items()}


def safetensors(path: Path) -> tuple[dict[str, Lazy], dict[str, str]]:
    """A file's tensors by name, and its own texts. Raises UnreadableInput."""
    from bessemer.wire.safetensors import header

    try:
        held = header(path)
        file = FileBytes(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile safetensors file", why=str(error)) from None
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read", why=str(error)) from None
    places = held.entries.values()
    return {item.name: stored_at(file, item.name, item.shape, item.kind, item.offset) for item in places}, held.metadata


def pickled(path: Path) -> dict[tuple[str, ...], Lazy]:
    """The tensors of a state dict, or of containers of them, by the keys that lead to each.

    Raises UnreadableInput for a broken or hostile file, Declined for pickled modules and tensors of unusual types.
    """
    from bessemer.sources.torch.weights import load

    return lazies(path, load(path))


def lazies(path: Path, found: dict[tuple[str, ...], Any]) -> dict[tuple[str, ...], Lazy]:
    """Lazy forms of what `sources.torch.weights.load` found. Raises Declined for tensors of unusual types."""
    strange = [blocker for place, tensor in found.items() if (blocker := _strange(".".join(place), tensor))]
    if strange:
        raise Declined(f"Reading {path} as a checkpoint", strange)
    file, checks = FileBytes(path), dict[int, Checksum]()
    return {place: _lazy(".".join(place), tensor, file, checks) for place, tensor in found.items()}


def _strange(name: str, tensor: Tensor) -> Blocker | None:
    if tensor.quantizer is not None:
        reason = "it is quantized by PyTorch, in a way that no other format of weights has"
        return Blocker(name, "tensor", "quantized", reason, rewrite="the float weights it was made from")
    if tensor.dtype not in KINDS:
        return Blocker(name, "tensor", "type", f"elements of the type {tensor.dtype} are not read here")
    return None


def _lazy(name: str, tensor: Tensor, file: FileBytes, checks: dict[int, Checksum]) -> Lazy:
    storage, kind = tensor.storage, KINDS[tensor.dtype]
    if storage.place is None or not tensor.contiguous or tensor.conjugate or tensor.negative:
        return _strided(name, tensor, kind)
    width = row_bytes(kind, 1)
    change = _turned(width) if storage.swap and width > 1 else None
    lazy = stored_at(file, name, tensor.shape, kind, storage.place + tensor.offset * width, change)
    if not storage.crc:
        return lazy
    checksum = Checksum(file, storage.place, storage.nbytes, storage.crc, storage.key)
    return checks.setdefault(id(storage), checksum).guarding(lazy)


def _turned(width: int) -> Callable[[Bytes], Bytes]:
    return lambda rows: np.ascontiguousarray(rows.reshape(-1, width)[:, ::-1]).reshape(rows.shape)


def _strided(name: str, tensor: Tensor, kind: str) -> Lazy:
    """A view whose elements do not lie side by side, or not in the file as they are."""
    width = row_bytes(kind, tensor.shape[-1] if tensor.shape else 1)

    def read(start: int, stop: int) -> Bytes:
        if not tensor.size:
            return np.empty((stop - start, width), np.uint8)
        held = tensor.numpy()
        part = held[np.unravel_index(np.arange(start, stop), held.shape[:-1])] if held.ndim > 1 else held
        return np.ascontiguousarray(part).reshape(-1).view(np.uint8).reshape(-1, width)[: stop - start]

    return Lazy(name, tensor.shape, kind, width, read)
