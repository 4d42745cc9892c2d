"""Importance matrices: how much each column of a matrix matters, by the mean square of what it is multiplied with.

Read in both forms of llama-imatrix, measured, and written in its GGUF form: for each tensor '<name>.in_sum2' [experts,
columns] (sums of squares) and '<name>.counts' [experts, 1] (how many rows were summed), with the keys `imatrix.*`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.wire import imatrix
from bessemer.wire.errors import WireError

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint, Lazy
    from bessemer.ir.decoder import Decoder
    from bessemer.wire.gguf.reader import File

Floats = npt.NDArray[np.float32]
_SUMS, _COUNTS = ".in_sum2", ".counts"
CHUNK = 512
"""Tokens that see each other while measuring, as in llama-imatrix."""
TOGETHER = 4
"""Chunks that share each reading of the weights."""


@dataclass
class Matrix:
    """sums: tensor -> sums of squares, float32 [experts, columns] (one expert where there are none); counts: tensor -> rows
    that were summed [experts]; chunks of chunk_size tokens; datasets: names of the texts."""

    sums: dict[str, Floats]
    counts: dict[str, npt.NDArray[np.int64]]
    chunks: int
    chunk_size: int
    datasets: tuple[str, ...] = ()

    def importance(self) -> dict[str, Floats]:
        """Tensor -> mean squares, float32 [experts times columns], as llama-quantize takes them: 1 for an expert that no
        token came to."""
        return {name: _means(sums, self.counts[name]).reshape(-1) for name, sums in self.sums.items()}

    def unseen(self) -> dict[str, int]:
        """Tensor -> how many of its experts no token came to."""
        missed = {name: int((counts == 0).sum()) for name, counts in self.counts.items()}
        return {name: count for name, count in missed.items() if count}

    def facts(self, file: str) -> dict[str, Any]:
        """What llama-quantize adds to the metadata of a file that it quantizes with this matrix."""
        held: dict[str, Any] = {"quantize.imatrix.file": file}
        if self.datasets:
            held["quantize.imatrix.dataset"] = self.datasets[0]
        held["quantize.imatrix.entries_count"] = len(self.sums)
        return {**held, "quantize.imatrix.chunks_count": self.chunks} if self.chunks > 0 else held


def _means(sums: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    seen = (counts > 0)[:, None]
    by = np.maximum(counts, 1).astype(np.float32)[:, None]
    return np.where(seen, sums / by, np.float32(1))


# -- files


def read(path: Path) -> dict[str, Floats]:
    """Tensor -> float32 [experts times columns]. Raises UnreadableInput."""
    return load(path).importance()


def load(path: Path) -> Matrix:
    """An importance matrix, in the GGUF form or the older one. Raises UnreadableInput for a file that is neither."""
    try:
        with path.open("rb") as stream:
            modern = stream.read(4) == b"GGUF"
        return _modern(path) if modern else _older(imatrix.parse(path.read_bytes()))
    except OSError as error:
        raise UnreadableInput("The importance matrix cannot be read", where=str(path), why=str(error)) from None
    except WireError as error:
        raise UnreadableInput(
            "This is no importance matrix", where=str(path), why=str(error), fix="Give a file of llama-imatrix"
        ) from None


def _older(file: imatrix.File) -> Matrix:
    """Its values are mean squares times calls, for all experts alike; a file without calls holds the means themselves."""
    sums = {name: entry.values[None] for name, entry in file.entries.items()}
    counts = {name: np.array([max(entry.calls, 1)]) for name, entry in file.entries.items()}
    return Matrix(sums, counts, file.chunks, 0, (file.dataset,) if file.dataset else ())


def _modern(path: Path) -> Matrix:
    from bessemer.wire.gguf.reader import read as read_gguf

    file = read_gguf(path)
    kinds = {"imatrix.datasets": list, "imatrix.chunk_count": int, "imatrix.chunk_size": int}
    missing = [key for key, kind in kinds.items() if not isinstance(file.metadata.get(key), kind)]
    if missing:
        raise WireError(f"the GGUF file lacks {', '.join(missing)}")
    names = [name.removesuffix(_SUMS) for name in file.tensors if name.endswith(_SUMS)]
    if not names:
        raise WireError("it has no sums")
    pairs = {name: (_array(file, name + _SUMS), _array(file, name + _COUNTS)) for name in names}
    sums = {name: _by_expert(name, held, counts) for name, (held, counts) in pairs.items()}
    numbers = {name: np.rint(counts).astype(np.int64).reshape(-1) for name, (_, counts) in pairs.items()}
    facts = file.metadata
    texts = tuple(str(name) for name in facts["imatrix.datasets"])
    return Matrix(sums, numbers, int(facts["imatrix.chunk_count"]), int(facts["imatrix.chunk_size"]), texts)


def _by_expert(name: str, sums: Floats, counts: Floats) -> Floats:
    if not counts.size or not np.isfinite(counts).all() or sums.size % counts.size:
        raise WireError(f"{sums.size} sums with {counts.size} counts", where=name)
    return sums.reshape(counts.size, -1)


def _array(file: File, name: str) -> Floats:
    info = file.tensors.get(name)
    if info is None or info.type.name != "F32":
        raise WireError("sums and counts of a tensor have to be there, as F32", where=name)
    with info.path.open("rb") as stream:
        stream.seek(info.offset)
        order = ">f4" if file.big_endian else "<f4"
        return np.frombuffer(stream.read(info.nbytes), order).astype(np.float32)


def write(path: Path, matrix: Matrix) -> None:
    """The GGUF form. Raises OSError, WireError for names that GGUF cannot hold."""
    from bessemer.wire.gguf.writer import layout

    metadata = {
        "general.type": "imatrix",
        "imatrix.datasets": list(matrix.datasets) or ["unknown"],
        "imatrix.chunk_count": matrix.chunks,
        "imatrix.chunk_size": matrix.chunk_size,
    }
    arrays: dict[str, Floats] = {}
    for name in sorted(matrix.sums):
        arrays[name + _SUMS] = matrix.sums[name]
        arrays[name + _COUNTS] = matrix.counts[name].astype(np.float32)[:, None]
    header, offsets, total = layout(metadata, [(name, held.shape, "F32") for name, held in arrays.items()])
    with path.open("wb") as file:
        file.write(header)
        for offset, held in zip(offsets, arrays.values(), strict=True):
            file.seek(offset)
            file.write(np.ascontiguousarray(held, "<f4").data)
        file.truncate(total)


# -- measuring


@dataclass
class Tap:
    """An observer of products (`runners.decoder.arrays.Observer`) that sums the squares of what comes into them.

    experts: how many a stacked matrix has. Like llama-imatrix it looks at the matrices of layers; at the output matrix where
    `output` says so.
    """

    experts: int
    output: bool = False
    sums: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    def __call__(self, role: str, x: Floats, expert: int | None) -> None:
        """Rows x [rows, columns] come into a matrix, or into one expert's."""
        if not (role.startswith("blk.") or (self.output and role == "output")):
            return
        name = f"{role}.weight"
        if name not in self.sums:
            parts = 1 if expert is None else self.experts
            self.sums[name] = np.zeros((parts, x.shape[1]))
            self.counts[name] = np.zeros(parts, np.int64)
        self.sums[name][expert or 0] += np.einsum("ij,ij->j", x, x, dtype=np.float64)
        self.counts[name][expert or 0] += len(x)

    def matrix(self, chunks: int, chunk_size: int, datasets: Sequence[str] = ()) -> Matrix:
        """What was summed so far."""
        sums = {name: held.astype(np.float32) for name, held in self.sums.items()}
        return Matrix(sums, dict(self.counts), chunks, chunk_size, tuple(datasets))


def measure(
    decoder: Decoder,
    weights: Mapping[str, Lazy] | Callable[[str], Floats | None],
    tokens: Sequence[int],
    *,
    chunk: int = CHUNK,
    chunks: int | None = None,
    first: int | None = None,
    output: bool = False,
    datasets: Sequence[str] = (),
    done: Callable[[float], None] | None = None,
) -> Matrix:
    """An importance matrix from running a decoder on a text, in whole chunks of `chunk` tokens; what is left is not read.

    weights: `Family.roles(checkpoint)`; chunks: at most so many; first: token that begins each chunk in place of its own
    (where the tokenizer adds one); done: told what share is done. Raises UsageError for a text that fills no chunk.
    """
    from bessemer.runners.decoder.runner import DecoderRunner

    count = min(len(tokens) // chunk, chunks or len(tokens))
    if not count:
        raise UsageError(
            f"The text has {len(tokens)} tokens; an importance matrix is measured in chunks of {chunk}",
            fix="Give a longer text, or smaller chunks",
        )
    tap = Tap(max((layer.experts.count for layer in decoder.layers if layer.experts), default=1), output)
    runner = DecoderRunner(decoder, weights, tap)
    texts = np.array(tokens[: count * chunk], np.int64).reshape(count, chunk)
    if first is not None:
        texts[:, 0] = first
    for start in range(0, count, TOGETHER):
        (runner.logits if output else runner.hidden)(texts[start : start + TOGETHER])
        if done is not None:
            done(min(1.0, (start + TOGETHER) / count))
    return tap.matrix(count, chunk, datasets)


def measured_on(
    checkpoint: Checkpoint,
    text: str,
    *,
    name: str,
    chunk: int = CHUNK,
    chunks: int | None = None,
    output: bool = False,
    done: Callable[[float], None] | None = None,
) -> Matrix:
    """An importance matrix of a checkpoint on a text, called `name`, by its own tokenizer. Raises Declined for an
    architecture that nobody knows, UsageError for what cannot be evaluated or tokenized, or a text that is too short."""
    from bessemer.architectures.base import find
    from bessemer.tokenization import encoder
    from bessemer.tokenization.library import around

    family, tokenizer = find(checkpoint.config), checkpoint.tokenizer
    decoder = family.decoder(checkpoint.config)
    if decoder is None or tokenizer is None:
        lack = "tokenizer" if tokenizer is None else "evaluator of its architecture"
        raise UsageError("No importance can be measured on this model", why=f"There is no {lack}")
    first = [token for _, token in around(tokenizer)[0]]
    return measure(
        decoder,
        family.roles(checkpoint),
        [*first, *encoder(tokenizer, parse_special=False)(text)],
        chunk=min(chunk, decoder.context),
        chunks=chunks,
        first=first[0] if first else None,
        output=output,
        datasets=(name,),
        done=done,
    )
