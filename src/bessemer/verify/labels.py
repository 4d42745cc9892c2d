"""Right answers: one class number per sample, from an array, a text file, a table of file names, or folder names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.types import Array
from bessemer.verify.arrays import LABEL_NAMES, archive, is_idx, one_array

BESIDE = ("labels.csv", "labels.txt")
"""Tables that are read without being named when they lie in the folder of images."""


def of_files(files: Sequence[Path], root: Path, table: Path | None) -> Array | None:
    """Class numbers of image files, in their order; None where nothing tells them.

    table: the user's, else one of BESIDE in `root`, else folder names: numbers as they are, words by their place in
    the alphabet (as torchvision's ImageFolder counts).
    """
    found = table or next((root / name for name in BESIDE if (root / name).is_file()), None)
    if found is None:
        return _by_folder(files, root)
    if found.suffix.lower() in (".csv", ".tsv"):
        return _by_name(files, root, found)
    return read(found)


def read(path: Path) -> Array:
    """Class numbers in the order of the samples. Raises UsageError, UnreadableInput."""
    if path.suffix == ".npz":
        arrays = archive(path)
        name = next((name for name in LABEL_NAMES if name in arrays), next(iter(arrays), None))
        if name is None:
            raise UsageError(f"--labels {path} is empty")
        return _whole(arrays[name], path)
    if path.suffix == ".npy" or is_idx(path):
        return _whole(one_array(path), path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _whole(np.array([_number(row[-1], path) for row in _table(path)]), path)
    if path.suffix.lower() == ".txt":
        lines = _text(path).split()
        return np.array([_number(line, path) for line in lines], np.int64)
    raise UsageError(f"--labels {path} is of no known kind", fix="Give .csv (file,label), .txt, .npy, .npz or idx")


def _by_folder(files: Sequence[Path], root: Path) -> Array | None:
    names = [file.parent.name for file in files]
    if any(file.parent == root for file in files):
        return None
    if all(name.isdecimal() for name in names):
        return np.array([int(name) for name in names], np.int64)
    places = {name: place for place, name in enumerate(sorted(set(_folders(root))))}
    return np.array([places[name] for name in names], np.int64)


def _folders(root: Path) -> list[str]:
    return [folder.name for folder in root.iterdir() if folder.is_dir()]


def _by_name(files: Sequence[Path], root: Path, table: Path) -> Array:
    """A row per file: its name (or its path below the folder) first, the class last."""
    rows = {row[0].replace("\\", "/"): row[-1] for row in _table(table) if len(row) > 1}
    found = [_row_of(file, root, rows) for file in files]
    absent = [file.name for file, label in zip(files, found, strict=True) if label is None]
    if absent:
        raise UsageError(
            f"{table} has no row for {len(absent)} of {len(files)} images, {absent[0]} for one",
            fix="Write rows of file name and class number: cat.jpg,281",
        )
    return np.array([_number(label, table) for label in found if label is not None], np.int64)


def _row_of(file: Path, root: Path, rows: Mapping[str, str]) -> str | None:
    below = file.relative_to(root).as_posix()
    return next((rows[key] for key in (below, file.name, file.stem) if key in rows), None)


def _table(path: Path) -> list[list[str]]:
    """Rows without blank ones and without a heading (a first row whose class is no number)."""
    text = _text(path)
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in text.partition("\n")[0]), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    return rows[1:] if rows and not _is_number(rows[0][-1]) else rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"--labels {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"--labels {path} cannot be read as text", why=str(error)) from None


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _number(text: str, path: Path) -> int:
    if not _is_number(text):
        raise UsageError(f"{path} has the class '{text}', which is no number", fix="Write class numbers from 0")
    return int(text)


def _whole(array: Array, path: Path) -> Array:
    """One class number per sample: one-hot rows give their arg-max."""
    flat = array.argmax(axis=-1) if array.ndim == 2 and array.shape[1] > 1 else array.reshape(-1)
    if flat.dtype.kind not in "iub":
        raise UsageError(f"--labels {path} holds {array.dtype}, not class numbers")
    return flat.astype(np.int64)
