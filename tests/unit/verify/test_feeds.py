"""Feeds from a Python function: what it may yield, when it is run, and what is said when it fails."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.quantize.data import calibration_samples
from bessemer.verify.data import Request, load

ONE = Signature((TensorSpec("x", "float32", ("N", 3)),), ())
TWO = Signature((TensorSpec("a", "float32", ("N", 2)), TensorSpec("b", "int64", ("N",))), ())
FIXED = Signature((TensorSpec("x", "float32", (2, 3)),), ())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, body: str, name: str = "calib.py") -> Path:
    (folder / name).write_text(f"import numpy as np\n{body}")
    return Path(f"{name}:feeds")


def values(path: Path, signature: Signature, limit: int = 0) -> list[dict[str, np.ndarray]]:
    return [item.arrays for item in load(Request(path, limit=limit), signature).sets]


def test_a_feed_is_a_dict_a_tuple_or_the_array(here: Path) -> None:
    bodies = {
        "dicts": "def feeds():\n  for i in range(3): yield {'b': np.array([i]), 'a': np.full((1, 2), i, np.float32)}",
        "tuples": "def feeds():\n  return ((np.full(2, i, np.float32), np.int64(i)) for i in range(3))",
    }
    for kind, body in bodies.items():
        (found,) = values(write(here, body, f"{kind}.py"), TWO)
        assert found["a"].tolist() == [[0, 0], [1, 1], [2, 2]], kind
        assert found["b"].tolist() == [0, 1, 2], kind
    (found,) = values(write(here, "feeds = [np.arange(3.0, dtype=np.float32), np.ones((1, 3), np.float32)]"), ONE)
    assert found["x"].tolist() == [[0, 1, 2], [1, 1, 1]]


def test_a_module_is_found_in_the_working_directory(here: Path) -> None:
    package = here / "calibrating"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package, "def feeds():\n  yield np.zeros((2, 3), np.float32)", "night.py")
    assert values(Path("calibrating.night:feeds"), ONE)[0]["x"].shape == (2, 3)
    assert str(here) not in sys.path


def test_batches_become_samples_and_samples_become_batches(here: Path) -> None:
    path = write(here, "def feeds():\n  yield np.arange(15, dtype=np.float32).reshape(5, 3)")
    assert [item["x"].shape for item in calibration_samples(path, ONE)] == [(1, 3)] * 5
    found = load(Request(path), FIXED)
    assert [item.arrays["x"][:, 0].tolist() for item in found.sets] == [[0, 3], [6, 9]]
    assert "1 of 5 samples" in found.notes[0]


def test_labels_come_along(here: Path) -> None:
    path = write(here, "def feeds():\n  for i in range(4): yield {'x': np.zeros((1, 3), np.float32), 'labels': [i]}")
    (item,) = load(Request(path), ONE).sets
    assert item.labels is not None
    assert item.labels.tolist() == [0, 1, 2, 3]


def test_samples_of_several_shapes_run_one_by_one(here: Path) -> None:
    signature = Signature((TensorSpec("x", "float32", ("N", "T")),), ())
    path = write(here, "def feeds():\n  for i in (2, 4): yield np.zeros((1, i), np.float32)")
    assert [item["x"].shape for item in values(path, signature)] == [(1, 2), (1, 4)]


def test_inputs_without_a_common_batch_are_one_run_each(here: Path) -> None:
    signature = Signature((TensorSpec("x", "float32", (None, 4)), TensorSpec("sr", "int64", ())), ())
    path = write(here, "def feeds():\n  for i in range(3): yield np.full((1, 4), i, np.float32), np.array(16000)")
    assert [(item["x"][0, 0], int(item["sr"])) for item in values(path, signature)] == [(n, 16000) for n in range(3)]


def test_it_runs_once_and_no_further_than_the_limit(here: Path) -> None:
    body = "count = 0\ndef feeds():\n  global count\n  count += 1\n  print('noise')\n"
    body += "  for i in range(10**9): yield np.full((1, 3), i + 10 * (count - 1), np.float32)"
    samples = calibration_samples(write(here, body), ONE, limit=20)
    samples._room = 0
    first, again = [item["x"][0, 0] for item in samples], [item["x"][0, 0] for item in samples]
    assert first == again == list(range(20))
    assert samples[3]["x"][0, 0] == 3


def test_memory_is_bounded_by_one_feed(here: Path) -> None:
    """40 MB of samples, half a megabyte each."""
    path = write(here, "def feeds():\n  for i in range(80): yield np.full((1, 1 << 17), i, np.float32)")
    signature = Signature((TensorSpec("x", "float32", ("N", 1 << 17)),), ())
    tracemalloc.start()
    found = load(Request(path), Signature((TensorSpec("x", "float32", (1, 1 << 17)),), signature.outputs))
    total = sum(float(item.arrays["x"][0, 0]) for item in found.sets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == sum(range(80))
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("body", "signature", "said"),
    [
        ("def feeds():\n  raise KeyError('lost')", ONE, "fails at starting it|calib.py line 3.*KeyError: 'lost'"),
        ("def feeds():\n  yield np.zeros((1, 3))\n  1 / 0", ONE, r"fails at its feed 1 \(at calib.py line 4\).*Zero"),
        ("import nothing_of_this_name", ONE, "fails at importing it.*ModuleNotFoundError"),
        ("raise SystemExit(0)", ONE, "fails at importing it.*SystemExit"),
        ("def others(): pass", ONE, "there is no 'feeds' in calib.py. It has: others"),
        ("feeds = 7", ONE, "gives int, which is no stream of feeds"),
        ("def feeds(): return np.float32(3)", ONE, "gives float32, which is no stream"),
        ("def feeds():\n  yield from ()", ONE, "yields no sample"),
        ("def feeds():\n  yield np.zeros(3)", TWO, "yields 1 array.* the model has 2 inputs: a, b"),
        ("def feeds():\n  yield {'a': np.zeros(2, np.float32)}", TWO, "no array for the input 'b"),
        ("def feeds():\n  yield np.zeros((1, 4), np.float32)", ONE, r"does not fit the input.*shape \[1, 4\]"),
        ("def feeds():\n  yield ['one', 'two', 'three']", TWO, "yields 3 array"),
        ("def feeds():\n  yield {'x': 'text'}", ONE, "yields str for 'x', which is no array"),
        ("def feeds():\n  while True: yield np.zeros((1, 3), np.float32)", ONE, "yields more than 131072 feeds"),
    ],
)
def test_mistakes_are_one_paragraph(here: Path, body: str, signature: Signature, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        values(write(here, body), signature)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(here: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file none\.py"):
        values(Path("none.py:feeds"), ONE)
    with pytest.raises(UsageError, match="fails at importing it"):
        values(Path("no_such_module:feeds"), ONE)


def test_preprocessing_belongs_in_the_function(here: Path) -> None:
    from bessemer.verify.preprocess import Preprocess

    path = write(here, "def feeds():\n  yield np.zeros((1, 3), np.float32)")
    with pytest.raises(UsageError, match="Preprocess in the function"):
        load(Request(path, Preprocess.parse("torch")), ONE)
