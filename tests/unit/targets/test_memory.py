"""Weights larger than the memory that converting them may take: read by rows, written by pieces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bessemer.wire.safetensors import layout

ROWS, COLUMNS = 40_000, 2048
CONVERT = """
import resource, sys
from pathlib import Path
from bessemer.opening import open_checkpoint
from bessemer.sources.base import OpenOptions
from bessemer.targets import TARGETS
path, out, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
target = next(entry for entry in TARGETS if entry.name == name).load_checkpoint()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
artifact = target.write(target.prepare(open_checkpoint(path, OpenOptions()), target.options()), out, "made")
again = open_checkpoint(artifact.path, OpenOptions()).tensors["w"]
assert again.read(39_000, 39_001).tobytes() == bytes(again.row_bytes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("target", ["safetensors", "pytorch", "npz"])
def test_a_tensor_is_never_in_memory_as_a_whole(target: str, tmp_path: Path) -> None:
    """330 MB in one tensor, a hole in a sparse file; four pieces of 4 MB for each of 4 cores are in flight."""
    header, _, total = layout([("w", "F32", (ROWS, COLUMNS))], {"format": "pt"})
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.write(header)
        file.truncate(total)
    command = [sys.executable, "-c", CONVERT, str(path), str(tmp_path), target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) << 10 < total // 2, f"{int(done.stdout) >> 10} MB for a tensor of {total >> 20} MB"
