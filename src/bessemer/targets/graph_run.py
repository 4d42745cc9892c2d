"""What running an ONNX file of ours needs to know; apart from `graph_file`, so that a child process starts quickly."""

from __future__ import annotations

import mmap
from pathlib import Path

METADATA = 14
"""ModelProto.metadata_props; the first field of each is its key."""


def wants_integer_kernels(path: Path) -> bool:
    """Whether the file was made from integer operators (see `passes.qdq.KERNELS_KEY`); its weights are not read."""
    from bessemer.passes.qdq import KERNELS_KEY
    from bessemer.wire.protobuf import fields

    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        entries = (entry for number, entry in fields(data) if number == METADATA)
        return KERNELS_KEY.encode() in {bytes(part) for entry in entries for _, part in fields(entry)}


def beside(path: Path) -> int:
    """Bytes of the weights that `write_graph` put beside the graph."""
    data = path.with_name(f"{path.name}.data")
    return data.stat().st_size if data.exists() else 0
