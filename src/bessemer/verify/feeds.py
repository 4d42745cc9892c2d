"""Samples out of a Python function of the user's: `module:function` or `file.py:function`.

The function takes nothing and yields feeds (a dict of arrays by input name, a tuple in the order of the inputs, or the
one array), or the name is that of anything that can be iterated, a torch DataLoader for instance. A feed has the batch
axis or lacks it. Feeds are written to a temporary file as they come, so that memory is bounded by one of them and the
function runs once however often samples are read.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature
from bessemer.ir.types import Array
from bessemer.ir.user_code import blamed, importable, imported
from bessemer.verify.arrays import LABEL_NAMES

SPELLING = re.compile(r"(?P<module>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")
LARGEST = 1 << 34
"""Bytes that are written for one function at most."""
MOST = 1 << 17
"""Samples that are taken from one function at most where no limit was asked for."""


_END = object()


def names_function(path: Path) -> tuple[str, str] | None:
    """(module or file, name) of `module:function`; None for what lies on disk or is no such thing."""
    found = SPELLING.fullmatch(str(path))
    return None if found is None or path.exists() else (found["module"], found["name"])


def source_file(path: Path) -> Path | None:
    """The file that holds the function, for the manifest."""
    module, _ = names_function(path) or ("", "")
    if module.endswith(".py"):
        return Path(module)
    with importable():
        found = importlib.util.find_spec(module) if module else None
    origin = None if found is None else found.origin
    return Path(origin) if origin and Path(origin).exists() else None


def calls(path: Path, limit: int) -> Iterator[Any]:
    """What the function yields. Raises UsageError where it is not there, fails, or does not end."""
    feeds = _iterated(path)
    for number in range(limit or MOST):
        with blamed(f"--data {path} fails at its feed {number}"), redirect_stdout(sys.stderr), importable():
            item = next(feeds, _END)
        if item is _END:
            return
        yield item
    if not limit:
        raise UsageError(
            f"--data {path} yields more than {MOST} feeds", fix="End it, or say how many with --calibration-samples"
        )


def _iterated(path: Path) -> Iterator[Any]:
    module, name = names_function(path) or ("", "")
    with blamed(f"--data {path} fails at importing it"), redirect_stdout(sys.stderr), importable():
        held = imported(module, f"--data {path}")
        if not hasattr(held, name):
            known = ", ".join(item for item in vars(held) if callable(getattr(held, item)) and item[0] != "_")
            raise UsageError(f"--data {path}: there is no '{name}' in {module}", fix=f"It has: {known or 'nothing'}")
        made = getattr(held, name)
        made = made() if callable(made) and not isinstance(made, Iterable) else made
    if not isinstance(made, Iterable) or isinstance(made, (str, bytes, Mapping)):
        raise UsageError(
            f"--data {path} gives {type(made).__name__}, which is no stream of feeds",
            fix="Yield a dict of arrays by input name, a tuple in the order of the inputs, or the one array",
        )
    with blamed(f"--data {path} fails at starting it"), redirect_stdout(sys.stderr):
        return iter(made)


def by_name(item: Any, signature: Signature, path: Path) -> tuple[dict[str, Array], Array | None]:
    """Arrays by input name with the batch axis, and labels where the feed is a dict that holds some."""
    names = [spec.name for spec in signature.inputs]
    told = None
    if isinstance(item, Mapping):
        key = next((name for name in LABEL_NAMES if name in item and name not in names), None)
        told = None if key is None else np.asarray(item[key]).reshape(-1)
        given = {name: value for name, value in item.items() if name != key}
    else:
        values = list(item) if isinstance(item, (tuple, list)) else [item]
        if len(values) != len(names):
            raise UsageError(
                f"--data {path} yields {len(values)} array(s), the model has {len(names)} inputs: {', '.join(names)}",
                fix="Yield a dict by input name, or a tuple in this order",
            )
        given = dict(zip(names, values, strict=True))
    ranks = {spec.name: len(spec.shape) for spec in signature.inputs}
    return {name: _batched(value, ranks.get(name), path, name) for name, value in given.items()}, told


def _batched(value: Any, rank: int | None, path: Path, name: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise UsageError(f"--data {path} yields {type(value).__name__} for '{name}', which is no array of numbers")
    return array[None] if rank is not None and array.ndim == rank - 1 else array


@dataclass
class Spool:
    """Samples in a temporary file. A sample is a row of a batch, or a whole run."""

    places: list[dict[str, tuple[int, str, tuple[int, ...]]]] = field(default_factory=list)
    alike: bool = True
    _file: Any = field(default_factory=lambda: tempfile.TemporaryFile(prefix="bessemer-feeds-"))  # noqa: SIM115
    _end: int = 0

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.places)

    def add(self, arrays: Mapping[str, Array], whole: bool) -> None:
        """One run as it stands, or each row of a batch. Raises UsageError beyond LARGEST bytes."""
        rows = 1 if whole else min((array.shape[0] for array in arrays.values()), default=0)
        for row in range(rows):
            self._write({name: array if whole else array[row] for name, array in arrays.items()})

    def _write(self, sample: Mapping[str, Array]) -> None:
        placed = {}
        for name, array in sample.items():
            placed[name] = (self._end, array.dtype.name, array.shape)
            self._end += self._file.write(np.ascontiguousarray(array).tobytes())
        if self._end > LARGEST:
            raise UsageError(
                f"Samples take more than {LARGEST >> 30} GiB", fix="Limit them with --calibration-samples"
            )
        shapes = [{name: shape for name, (_, _, shape) in item.items()} for item in (placed, *self.places[:1])]
        self.alike = self.alike and shapes[0] == shapes[-1]
        self.places.append(placed)

    def run(self, place: int) -> dict[str, Array]:
        """One sample."""
        from bessemer.ir.types import named_dtype

        found = {}
        for name, (start, kind, shape) in self.places[place].items():
            dtype = named_dtype(kind)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            self._file.seek(start)
            found[name] = np.frombuffer(self._file.read(size), dtype).reshape(shape)
        return found

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Samples of one shape as a batch."""
        held = [self.run(place) for place in range(start, stop)]
        return {name: np.stack([item[name] for item in held]) for name in held[0]}
