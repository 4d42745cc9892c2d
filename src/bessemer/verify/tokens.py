"""Token arrays as language models are fed: ids, a mask of what is no padding, token types, positions.

Rules: lists are padded on the right with id 0 to the model's length, or to the longest of a run where the model leaves
it open; longer ones are cut. A mask that is not given is 1 at tokens and 0 at padding (in an array: the zeros at a
row's end); types are 0; positions count from 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bessemer.ir.errors import MissingExtra, UnreadableInput, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.verify.arrays import LABEL_NAMES

ROLES = {
    "ids": ("input_ids", "input_word_ids", "ids", "tokens", "token_ids"),
    "mask": ("attention_mask", "input_mask", "mask"),
    "types": ("token_type_ids", "input_type_ids", "segment_ids", "type_ids"),
    "positions": ("position_ids",),
}
"""What a name says, in lower case without numbers ('serving_default_input_ids:0' ends with 'input_ids')."""
LINE = 1 << 24
"""Bytes of the longest line."""

Row = dict[str, list[int]]
"""Tokens of one sample by role."""


class Lists(Protocol):
    """Samples of tokens, read when asked for."""

    labels: Array | None

    def __len__(self) -> int: ...

    def row(self, place: int) -> Row:
        """One sample."""
        ...


def role(name: str) -> str:
    """Of an input's or array's name; '' for none."""
    plain = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    exact = next((key for key, names in ROLES.items() if plain in names), "")
    ends = (key for key, names in ROLES.items() if plain.endswith(tuple(f"_{item}" for item in names if "_" in item)))
    return exact or next(ends, "")


def _is_row(spec: TensorSpec) -> bool:
    return len(spec.shape) == 2 and spec.dtype in ("int32", "int64")


def are_tokens(signature: Signature) -> bool:
    """Whether every one of several inputs is named as token inputs are."""
    named = {role(spec.name) if _is_row(spec) else "" for spec in signature.inputs}
    return len(signature.inputs) > 1 and "ids" in named and "" not in named


def roles_of(signature: Signature, path: Path) -> dict[str, str]:
    """Role of every input. Raises UsageError where an input is none of tokens."""
    found = {spec.name: role(spec.name) if _is_row(spec) else "" for spec in signature.inputs}
    if len(found) == 1 and _is_row(signature.inputs[0]):
        return dict.fromkeys(found, "ids")
    strange = [str(spec) for spec in signature.inputs if not found[spec.name]]
    if strange or "ids" not in found.values():
        raise UsageError(
            f"--data {path} holds tokens, which do not tell what the model's inputs are fed",
            why=f"{'; '.join(strange) or 'no input'} is named like no {', '.join(ROLES)}",
            fix="Give an .npz with an array for each input",
        )
    return found


def complete(arrays: Mapping[str, Array], signature: Signature) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Arrays of tokens by the inputs' own names, at the model's length, with a mask, types and positions where they
    are missing; other arrays as they are. The second: sentences for the report."""
    made = dict(arrays)
    inputs = {role(spec.name): spec for spec in signature.inputs if _is_row(spec) and role(spec.name)}
    given = {role(name): array for name, array in arrays.items() if role(name) and array.dtype.kind in "iu"}
    if "ids" not in inputs and len(signature.inputs) == 1 and _is_row(signature.inputs[0]):
        inputs = {"ids": signature.inputs[0]}
    ids = given.get("ids")
    if "ids" not in inputs or ids is None or ids.ndim != 2:
        return made, ()
    length = inputs["ids"].shape[1]
    wide = {name: _at_length(array, length) for name, array in given.items() if array.shape == ids.shape}
    ends = _ends(ids)
    absent = [name for name in inputs if name not in wide]
    wide |= {name: _at_length(_default(name, ids.shape[1], ends), length) for name in absent}
    made |= {spec.name: wide[name] for name, spec in inputs.items() if name in wide}
    return made, tuple(_said(absent, inputs, ids, length, ends))


class Limit(Protocol):
    """Values that an integer input takes are below `high`."""

    @property
    def high(self) -> int: ...


def consistent(
    arrays: Mapping[str, Array], signature: Signature, limits: Mapping[str, Limit], number: int
) -> dict[str, Array]:
    """Masks and positions for generated tokens, as a tokenizer would make them; nothing for other models.

    number: of the input set. The first one has no padding; in others some rows have some, on the left where the model
    takes positions or keeps earlier tokens (it goes on at the right end), else on the right.
    """
    rows = {spec.name: role(spec.name) for spec in signature.inputs if _is_row(spec)}
    if "ids" not in rows.values() or len(signature.inputs) < 2:
        return {}
    left = "positions" in rows.values() or any("past" in str(dim) for spec in signature.inputs for dim in spec.shape)
    made = {
        name: _padding_mask(arrays[name].shape, number, left).astype(arrays[name].dtype)
        for name, what in rows.items()
        if what == "mask"
    }
    mask = next(iter(made.values()), None)
    for name, what in rows.items():
        if what == "positions":
            places = _positions(arrays[name].shape, mask)
            limit = limits[name].high if name in limits else None
            made[name] = np.clip(places, 0, None if limit is None else limit - 1).astype(arrays[name].dtype)
    return made


def _padding_mask(shape: tuple[int, ...], number: int, left: bool) -> Array:
    width = shape[1]
    padded = np.array([(number + row) * width // 5 % (width // 2 + 1) for row in range(shape[0])])
    places = np.arange(width)[None]
    return np.asarray(places >= padded[:, None] if left else places < (width - padded)[:, None])


def _positions(shape: tuple[int, ...], mask: Array | None) -> Array:
    """Counted from the first token that is no padding; earlier calls' tokens count, where the mask tells of them."""
    if mask is None or mask.shape[0] != shape[0] or mask.shape[1] < shape[1]:
        return np.broadcast_to(np.arange(shape[1]), shape)
    counted: Array = np.cumsum(mask, axis=1) - 1
    return counted[:, mask.shape[1] - shape[1] :]


def _said(
    absent: Sequence[str], inputs: Mapping[str, TensorSpec], ids: Array, length: int | str | None, ends: Array
) -> list[str]:
    words = {
        "mask": "1 up to the last token that is not 0",
        "types": "all 0",
        "positions": "counted from 0",
    }
    said = [f"'{inputs[name].name}' was not given: {words[name]}" for name in absent if name in words]
    if isinstance(length, int) and ids.shape[1] != length:
        cut = int((ends > length).sum())
        said.append(
            f"tokens of length {ids.shape[1]} were brought to {length}"
            + (f": {cut} of {len(ids)} samples were cut" if cut else " by padding")
        )
    return said


def _ends(ids: Array) -> Array:
    """Tokens of each row, zeros at its end not counted."""
    held = np.asarray(ids != 0)
    return np.asarray(held.shape[1] - np.argmax(held[:, ::-1], axis=1)) * held.any(axis=1)


def _default(name: str, width: int, ends: Array) -> Array:
    places = np.broadcast_to(np.arange(width), (len(ends), width))
    if name == "mask":
        return (places < ends[:, None]).astype(np.int64)
    return places.astype(np.int64) if name == "positions" else np.zeros(places.shape, np.int64)


def _at_length(array: Array, length: int | str | None) -> Array:
    if not isinstance(length, int) or array.shape[1] == length:
        return array
    return np.pad(array[:, :length], ((0, 0), (0, max(0, length - array.shape[1]))))


def fit(lists: Lists, signature: Signature, roles: Mapping[str, str]) -> tuple[tuple[str, ...], int | None]:
    """What is said of lists beside the model's length, and that length (None: open)."""
    spec = next(spec for spec in signature.inputs if roles[spec.name] == "ids")
    length = spec.shape[1] if isinstance(spec.shape[1], int) else None
    sizes = [len(lists.row(place)["ids"]) for place in range(len(lists))]
    said = [f"tokens are padded with 0 {f'to {length}' if length else 'to the longest of a run'}"]
    cut = sum(length is not None and size > length for size in sizes)
    said += [f"{cut} of {len(sizes)} samples are longer than the model's {length} tokens and were cut"] if cut else []
    return tuple(said), length


def padded(rows: Sequence[Row], roles: Mapping[str, str], length: int | None) -> dict[str, Array]:
    """int64 arrays [samples, length] by input name."""
    width = length or max((len(row["ids"]) for row in rows), default=0)
    found = {}
    for name, what in roles.items():
        array = np.zeros((len(rows), width), np.int64)
        for place, row in enumerate(rows):
            values = row.get(what) or _implied(what, len(row["ids"]))
            array[place, : min(len(values), width)] = values[:width]
        found[name] = np.broadcast_to(np.arange(width), array.shape).copy() if what == "positions" else array
    return found


def _implied(what: str, count: int) -> list[int]:
    return [int(what == "mask")] * count


def holds_lists(path: Path) -> bool:
    """Whether this is a .jsonl file or a folder that the library `datasets` saved."""
    if path.suffix.lower() == ".jsonl" and path.is_file():
        return True
    return (path / "state.json").is_file() and any(path.glob("*.arrow"))


def open_lists(path: Path) -> Lists:
    """Raises UnreadableInput, UsageError, MissingExtra."""
    return ArrowRows(path) if path.is_dir() else JsonLines(path)


class JsonLines:
    """A line for each sample: a list of ids, or an object with them and what goes beside them.

    Memory: a number for each line.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.starts = path, list[int]()
        labels: list[int | None] = []
        with path.open("rb") as stream:
            while True:
                start, line = stream.tell(), stream.readline(LINE)
                if not line:
                    break
                if line.strip():
                    self.starts.append(start)
                    labels.append(_label(self._parsed(line, len(self.starts))))
        if not self.starts:
            raise UsageError(f"--data {path} holds no line")
        self.labels = np.array(labels) if labels and all(label is not None for label in labels) else None

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, place: int) -> Row:
        """One sample."""
        with self.path.open("rb") as stream:
            stream.seek(self.starts[place])
            return _row(self._parsed(stream.readline(LINE), place + 1), f"{self.path} sample {place + 1}")

    def _parsed(self, line: bytes, number: int) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableInput(f"--data {self.path} sample {number} is no JSON", why=str(error)) from None


def _label(held: Any) -> int | None:
    found = next((held[name] for name in LABEL_NAMES if name in held), None) if isinstance(held, dict) else None
    return found if isinstance(found, int) else None


def _row(held: Any, where: str) -> Row:
    fields = held if isinstance(held, dict) else {"input_ids": held}
    row = {role(name): values for name, values in fields.items() if role(name)}
    if "ids" not in row:
        raise UsageError(f"--data {where} holds no token ids", fix="A line is a list of ids, or has 'input_ids'")
    for name, values in row.items():
        if not isinstance(values, list) or not all(type(item) is int for item in values):
            raise UsageError(f"--data {where}: its {name} are no list of whole numbers")
        if len(values) != len(row["ids"]):
            raise UsageError(f"--data {where} has {len(values)} {name} for {len(row['ids'])} tokens")
    return row


@dataclass
class ArrowRows:
    """A folder saved by `datasets` (`Dataset.save_to_disk`): Arrow streams that are mapped, not read."""

    path: Path

    def __post_init__(self) -> None:
        try:
            import pyarrow
        except ImportError:
            raise MissingExtra("pyarrow", extra="", needed_for=f"Reading the saved dataset {self.path}") from None
        names = json.loads((self.path / "state.json").read_text()).get("_data_files", [])
        files = [self.path / Path(item["filename"]).name for item in names] or sorted(self.path.glob("*.arrow"))
        try:
            tables = [pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all() for file in files]
            self.table = pyarrow.concat_tables(tables)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise UnreadableInput(f"--data {self.path} cannot be read as a saved dataset", why=str(error)) from None
        columns = self.table.column_names
        if not any(role(name) == "ids" for name in columns):
            raise UsageError(
                f"--data {self.path} has no column of token ids", why=f"its columns are {', '.join(columns)}"
            )
        label = next((name for name in LABEL_NAMES if name in columns), None)
        self.labels: Array | None = None if label is None else self.table[label].to_numpy()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, place: int) -> Row:
        """One sample."""
        held = {name: values[0] for name, values in self.table.slice(place, 1).to_pydict().items()}
        return _row(held, f"{self.path} sample {place + 1}")
