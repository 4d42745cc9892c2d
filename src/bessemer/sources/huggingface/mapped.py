"""Tensors over mapped files, whose pages are given back once they were read: weights are never all in memory at once."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import UnreadableInput
from bessemer.sources.huggingface.directory import Weights

if TYPE_CHECKING:
    import onnx_ir


@dataclass
class Region:
    """A mapped file. base: its address; size: bytes."""

    base: int
    size: int
    map: mmap.mmap


@dataclass
class Mapped:
    """tensors: name -> torch tensor, a view of a map where the file holds it side by side."""

    tensors: dict[str, Any]
    regions: list[Region] = field(default_factory=list)
    _last: tuple[int, int] | None = None

    def release(self) -> None:
        """Give all pages back; who reads on finds them again in the file."""
        for region in self.regions:
            region.map.madvise(mmap.MADV_DONTNEED)

    def read(self, tensor: Any) -> Any:
        """The same tensor; pages of the one that was read before it are given back."""
        if self._last is not None:
            self._release(*self._last)
        self._last = tensor.data_ptr(), tensor.numel() * tensor.element_size()
        return tensor

    def holds(self, tensor: Any) -> bool:
        """Whether the tensor looks into a map."""
        address = tensor.data_ptr()
        return any(region.base <= address < region.base + region.size for region in self.regions)

    def _release(self, address: int, size: int) -> None:
        for region in self.regions:
            start = address - region.base
            if 0 <= start < region.size:
                first = start - start % mmap.PAGESIZE
                region.map.madvise(mmap.MADV_DONTNEED, first, min(size + start - first, region.size - first))

    def lazy(self, tensor: Any) -> onnx_ir.TensorProtocol:
        """The tensor as a constant of a graph: float32 for narrow floats, else as it is; read when asked for."""
        import onnx_ir

        narrow = tensor.is_floating_point() and tensor.element_size() == 2
        kind = onnx_ir.DataType.FLOAT if narrow else onnx_ir.DataType.from_numpy(tensor.reshape(-1)[:0].numpy().dtype)

        def made() -> onnx_ir.TensorProtocol:
            held = self.read(tensor)
            return onnx_ir.tensor((held.float() if narrow else held).numpy())

        return onnx_ir.LazyTensor(made, dtype=kind, shape=onnx_ir.Shape(tuple(tensor.shape)), cache=False)


def mapped(weights: Weights) -> Mapped:
    """The tensors of a directory. Raises UnreadableInput, and Declined for a file of pickled modules."""
    from bessemer.sources.torch.weights import as_torch, load

    found = Mapped({})
    maps: dict[int, mmap.mmap] = {}
    for file in weights.files:
        for place, leaf in load(file).items():
            found.tensors[_name(place, file)] = as_torch(leaf)
            owner = leaf.storage.bytes().obj
            if isinstance(owner, mmap.mmap):
                maps[id(owner)] = owner
    found.regions = [_region(item) for item in maps.values()]
    lacking = sorted(set(weights.places or ()) - set(found.tensors))
    if lacking:
        raise UnreadableInput(
            f"{len(lacking)} tensors are not in the files that the index names", where=", ".join(lacking[:3])
        )
    return found


def _name(place: tuple[str, ...], file: Path) -> str:
    if len(place) != 1:
        raise UnreadableInput(
            f"{file} is no plain state dict", where=".".join(place)[:200],
            why="transformers saves tensors by name, and these lie in containers within one another",
        )  # fmt: skip
    return place[0]


def _region(item: mmap.mmap) -> Region:
    import numpy as np

    return Region(int(np.frombuffer(item, np.uint8).ctypes.data), len(item), item)
