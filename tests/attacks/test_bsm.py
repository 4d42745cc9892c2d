"""Archives cut, flipped and forged: refused with a place, never unpacked beyond their own size."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hostile import cuts, flips, road

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.pipeline import save_after
from bessemer.request import ConvertOptions
from bessemer.sources.base import OpenOptions
from bessemer.sources.bsm import SOURCE

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_after("rewrite", DEMO / "digits.tflite", tmp_path_factory.mktemp("bsm"), ConvertOptions())


def test_truncated_and_flipped(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for number, bad in enumerate((*cuts(data), *flips(data, 100))):
        path = tmp_path / f"bad{number}.bsm"
        path.write_bytes(bad)
        error = road(path)
        assert error is not None or number >= 64


def forged(archive: Path, place: Path, *, state: dict[str, object] | None = None, method: int = 0, extra: str = "") -> Path:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(place, "w", method) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "bessemer.json" and state:
                data = json.dumps(json.loads(data) | state).encode()
            new.writestr(name, data)
        if extra:
            new.writestr(extra, b"x")
    return place


def test_packed_entries_and_strange_names_are_refused(archive: Path, tmp_path: Path) -> None:
    for bad in (
        forged(archive, tmp_path / "a.bsm", method=zipfile.ZIP_DEFLATED),
        forged(archive, tmp_path / "b.bsm", extra="../../evil"),
        forged(archive, tmp_path / "c.bsm", state={"stage": "lunch"}),
        forged(archive, tmp_path / "d.bsm", state={"surprise": 1}),
        forged(archive, tmp_path / "e.bsm", state={"values": [{"place": 10**6, "name": "x"}]}),
    ):
        with pytest.raises(UnreadableInput, match=bad.name):
            SOURCE.open(bad, OpenOptions())


def test_an_original_that_is_no_plain_file_is_not_read(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as held:
        original = json.loads(held.read("bessemer.json"))["original"]
    bad = forged(archive, tmp_path / "a.bsm", state={"original": original | {"path": "/dev/zero"}})
    with pytest.raises(UsageError, match="which is not there"):
        SOURCE.runner(bad, OpenOptions())
