"""Files that the target writes, against those of llama-quantize from the same source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.targets.gguf import tiny

from bessemer.ir.errors import UnreadableInput
from bessemer.runners.llama.client import quantize
from bessemer.runners.llama.place import available
from bessemer.sources.base import OpenOptions
from bessemer.sources.gguf import checkpoint
from bessemer.targets.gguf.importance import Matrix, write
from bessemer.targets.gguf.options import GgufOptions
from bessemer.targets.gguf.target import GgufTarget
from bessemer.wire.gguf.reader import read


@pytest.mark.skipif(not available(), reason="no llama.cpp is installed")
@pytest.mark.parametrize(("family", "mix"), [("llama, 8 experts", "Q4_K_M"), ("qwen2", "Q4_0"), ("falcon", "IQ4_XS")])
def test_the_tensors_are_those_of_llama_quantize(family: str, mix: str, tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    _, tensors = tiny.write(source, family, kind="F16")
    draw = np.random.default_rng(31)
    matrices = {name: held for name, held in tensors.items() if name.startswith("blk") and held.ndim > 1}
    sizes = {name: (held.shape[0] if held.ndim > 2 else 1, held.shape[-1]) for name, held in matrices.items()}
    sums = {name: draw.random(size, np.float32) for name, size in sizes.items()}
    matrix = Matrix(sums, {name: np.full(len(held), 3) for name, held in sums.items()}, 1, 512, ("text",))
    write(tmp_path / "matrix.gguf", matrix)
    quantize(source, tmp_path / "wanted.gguf", mix, importance=matrix.importance(), threads=2)
    target, options = GgufTarget(), GgufOptions(precision=mix, importance=tmp_path / "matrix.gguf")
    prepared = target.prepare(checkpoint(source, OpenOptions()), options)
    path = target.write(prepared, tmp_path, "got").path
    got, wanted = read(path), read(tmp_path / "wanted.gguf")
    for name, info in wanted.tensors.items():
        held = got.tensors[name]
        assert (held.type, held.shape) == (info.type, info.shape), name
        ours = path.read_bytes()[held.offset : held.offset + held.nbytes]
        assert ours == (tmp_path / "wanted.gguf").read_bytes()[info.offset : info.offset + info.nbytes], name
    assert got.metadata["general.file_type"] == wanted.metadata["general.file_type"]
    assert got.metadata["quantize.imatrix.file"] == "matrix.gguf"


@pytest.mark.skipif(not available(), reason="no llama.cpp is installed")
@pytest.mark.parametrize(("family", "mix"), [("llama, grouped", "Q4_K_M"), ("qwen2", "Q8_0"), ("phi2", "Q3_K_L")])
def test_the_whole_file_is_that_of_llama_quantize(family: str, mix: str, tmp_path: Path) -> None:
    """Order of tensors and of metadata, too: people compare hashes."""
    source = tmp_path / "source.gguf"
    tiny.write(source, family, kind="F16")
    quantize(source, tmp_path / "wanted.gguf", mix, threads=2)
    target, options = GgufTarget(), GgufOptions(precision=mix)
    path = target.write(target.prepare(checkpoint(source, OpenOptions()), options), tmp_path, "got").path
    assert path.read_bytes() == (tmp_path / "wanted.gguf").read_bytes()


def test_a_tensor_that_blocks_cannot_hold_stops_the_file(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    tiny.write(source, "llama")
    place = read(source).tensors["blk.4.ffn_up.weight"].offset + 4 * (256 + 7)
    with source.open("r+b") as file:
        file.seek(place)
        file.write(np.float32(np.inf).tobytes())
    prepared = GgufTarget().prepare(checkpoint(source, OpenOptions()), GgufOptions(precision="Q8_0"))
    with pytest.raises(UnreadableInput, match=r"blk\.4\.ffn_up\.weight"):
        GgufTarget().write(prepared, tmp_path, "got")
