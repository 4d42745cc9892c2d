"""How the values of a tensor in a Hugging Face checkpoint stand in GGUF, and back: small classes, lazy, both ways.

`forward` takes the tensors of Hugging Face's side and gives GGUF's, `backward` the other way round; `names` are those that
the results get. `role` is `forward` without what only GGUF's runtimes want of the values (Decoder's roles). Rows are moved
as stored bytes, so that quantized tensors pass as well; what needs values says so. Shapes that do not fit raise ValueError,
which `Family` turns into a blocker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bessemer.ir.checkpoint import Lazy
from bessemer.weights import views

Config = Mapping[str, Any]
Tensors = Sequence[Lazy]
Names = Sequence[str]
Size = Callable[[Config], int]
"""A number that the config holds or that follows from it."""


class Transform:
    """The same values under another name; the base of all others. changes_values: whether it computes; loses: whether it
    leaves out what no token ever reaches."""

    changes_values: ClassVar[bool] = False
    loses: ClassVar[bool] = False

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        """Hugging Face's tensors -> GGUF's."""
        return [views.renamed(tensor, name) for tensor, name in zip(tensors, names, strict=True)]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        """GGUF's tensors -> Hugging Face's."""
        return [views.renamed(tensor, name) for tensor, name in zip(tensors, names, strict=True)]

    def role(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        """Hugging Face's tensors -> Decoder's roles."""
        return self.forward(tensors, names, config)

    def unrole(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        """Decoder's roles -> Hugging Face's tensors."""
        return self.backward(tensors, names, config)




class Unheard(Transform):
    """The same values, of a matrix by which llama.cpp's graph multiplies without looking at adapters."""


SAME = Transform()
UNHEARD = Unheard()


class _ValuesOfOne(Transform):
    """One tensor to one tensor, whose values are a matter of GGUF alone: a role is the tensor as it is."""

    def role(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(tensors[0], names[0])]

    unrole = role


@dataclass(frozen=True)
class RopePermute(_ValuesOfOne):
    """Rows of queries or keys (and their biases): per head, the halves that turn together become neighbours.

    ggml's 'normal' rotation turns neighbours, Hugging Face's element i with i + dims / 2. heads: of these rows;
    dims: rotated rows of a head, its first ones; all of them without it.
    """

    heads: Size
    dims: Size | None = None

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [self._moved(tensors[0], names[0], config, interleave=True)]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [self._moved(tensors[0], names[0], config, interleave=False)]

    def _moved(self, tensor: Lazy, name: str, config: Config, interleave: bool) -> Lazy:
        rows, heads = tensor.shape[0], self.heads(config)
        size = rows // heads
        dims = self.dims(config) if self.dims else size
        if rows % heads or dims % 2 or dims > size:
            raise ValueError(f"{tensor.name}: {rows} rows are no {heads} heads that rotate {dims} elements")
        order = np.arange(rows, dtype=np.int64).reshape(heads, size)
        halves = order[:, :dims].reshape(heads, 2, dims // 2) if interleave else order[:, :dims].reshape(heads, dims // 2, 2)
        order = np.concatenate([halves.swapaxes(1, 2).reshape(heads, dims), order[:, dims:]], axis=1)
        return views.renamed(gathered(tensor, order.reshape(-1)), name)


@dataclass(frozen=True)
class Plus(_ValuesOfOne):
    """GGUF holds the sum with a number (Gemma's norms, stored minus one). It computes in float32."""

    number: float
    changes_values: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.mapped(tensors[0], lambda values: values + np.float32(self.number)), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.mapped(tensors[0], lambda values: values - np.float32(self.number)), names[0])]


@dataclass(frozen=True)
class Mapped(_ValuesOfOne):
    """GGUF holds a function of the values (Mamba: A is -exp(A_log)). It computes in float32."""

    there: Callable[[views.Floats], views.Floats]
    back: Callable[[views.Floats], views.Floats]
    changes_values: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.mapped(tensors[0], self.there), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.mapped(tensors[0], self.back), names[0])]


class Transposed(Transform):
    """Hugging Face holds [inputs, outputs] (GPT-2's Conv1D), GGUF and roles [outputs, inputs]. Blocks are decoded first."""

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.transposed(unblocked(tensors[0])), names[0])]

    backward = forward



@dataclass(frozen=True)
class Swapped(Transform):
    """Two axes change places; the order is its own reverse. Blocks are decoded first."""

    axes: tuple[int, ...]

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        if len(tensors[0].shape) != len(self.axes):
            raise ValueError(f"{tensors[0].name} has {len(tensors[0].shape)} axes, {len(self.axes)} are wanted")
        return [views.renamed(views.transposed(unblocked(tensors[0]), self.axes), names[0])]

    backward = forward


@dataclass(frozen=True)
class Halved(_ValuesOfOne):
    """GGUF holds layer i divided by 2 ** (i // n), n being a number of the config under `key` (RWKV's guard against overflow
    in half precision); n = 0: as it is."""

    key: str
    changes_values: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [self._times(tensors[0], names[0], -1, config)]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [self._times(tensors[0], names[0], 1, config)]

    def _times(self, tensor: Lazy, name: str, sign: int, config: Config) -> Lazy:
        every = int(config[self.key])
        layer = next(int(part) for part in name.split(".") if part.isdecimal())
        power = layer // every if every > 0 else 0
        if not power:
            return views.renamed(tensor, name)
        kind = tensor.type if tensor.type in views.FLOATING else "F32"
        return views.renamed(views.mapped(tensor, lambda values: np.ldexp(values, sign * power), kind), name)


@dataclass(frozen=True)
class Reshaped(Transform):
    """The same elements as another shape. there, back: the shape from the config and the shape that is."""

    there: Callable[[Config, tuple[int, ...]], tuple[int, ...]]
    back: Callable[[Config, tuple[int, ...]], tuple[int, ...]]

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.reshaped(tensors[0], self.there(config, tensors[0].shape)), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(views.reshaped(tensors[0], self.back(config, tensors[0].shape)), names[0])]


class Stacked(Transform):
    """Many tensors of one shape ('{e}' in Hugging Face's template: experts, heads) are one with a leading axis in GGUF."""

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        if len({tensor.shape for tensor in tensors}) != 1:
            raise ValueError(f"{names[0]} stacks tensors of different shapes, {tensors[0].name} and others")
        return [views.row_concat(names[0], alike(tensors), (len(tensors), *tensors[0].shape))]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        whole, shape = tensors[0], tensors[0].shape[1:]
        if tensors[0].shape[0] != len(names):
            raise ValueError(f"{whole.name} holds {whole.shape[0]} parts, {len(names)} are wanted")
        rows = whole.rows // len(names)
        return [
            views.renamed(views.row_slice(whole, at * rows, (at + 1) * rows, shape), name) for at, name in enumerate(names)
        ]


@dataclass(frozen=True)
class Split(Transform):
    """One tensor of Hugging Face's is several in GGUF, by rows. sizes: rows of each, from the config.

    A leading axis (experts) stays: `gate_up_proj` [experts, 2 f, h] is two of [experts, f, h].
    """

    sizes: Callable[[Config], Sequence[int]]

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return split_rows(tensors[0], names, self.sizes(config))

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [joined_rows(names[0], tensors)]



@dataclass(frozen=True)
class Fused(Transform):
    """Several tensors of Hugging Face's are one in GGUF, their rows one after another. sizes: rows of each (config)."""

    sizes: Callable[[Config], Sequence[int]]

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [joined_rows(names[0], tensors)]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return split_rows(tensors[0], names, self.sizes(config))


@dataclass(frozen=True)
class Reordered(Transform):
    """Rows in another order, given by a function of the config: row i of GGUF's tensor (and of the role) is row order[i] of
    Hugging Face's (GPT-NeoX's, Bloom's and Falcon's queries, keys and values, interleaved by head: see `interleaved`)."""

    order: Callable[[Config], views.Index]

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(gathered(tensors[0], self.order(config)), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return [views.renamed(gathered(tensors[0], np.argsort(self.order(config), kind="stable")), names[0])]



@dataclass(frozen=True)
class Chained(_ValuesOfOne):
    """Transforms of one tensor one after another, in forward's order."""

    steps: tuple[Transform, ...]
    changes_values: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        held = list(tensors)
        for step in self.steps:
            held = step.forward(held, names, config)
        return held

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        held = list(tensors)
        for step in reversed(self.steps):
            held = step.backward(held, names, config)
        return held


@dataclass(frozen=True)
class Repeated(Transform):
    """GGUF holds a tensor of another row once more, times a number (config); the way back forgets it."""

    factor: Callable[[Config], float]
    changes_values: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        factor = np.float32(self.factor(config))
        return [views.renamed(views.mapped(tensors[0], lambda values: values * factor), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        return []


MOST_ROWS = 1 << 22
"""Of queries, keys and values, or of zeros: sizes come from files that nobody vouches for."""


@dataclass(frozen=True)
class DroppedRows(_ValuesOfOne):
    """GGUF lacks the first rows, which no token ever reaches (RoBERTa's positions up to the padding id's): zeros on the way
    back. count: how many (config)."""

    count: Size
    loses: ClassVar[bool] = True

    def forward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        rows, columns = tensors[0].shape
        count = self.count(config)
        return [views.renamed(views.row_slice(tensors[0], count, rows, (max(rows - count, 0), columns)), names[0])]

    def backward(self, tensors: Tensors, names: Names, config: Config) -> list[Lazy]:
        plain = unblocked(tensors[0])
        rows, columns = plain.shape
        count = self.count(config)
        if not 0 <= count <= MOST_ROWS:
            raise ValueError(f"{count} rows of zeros are asked for")
        nothing = views.from_array(names[0], np.zeros((count, columns), views.numpy_type(plain.type)))
        return [views.row_concat(names[0], [nothing, plain], (rows + count, columns))]


def interleaved(heads: int, kv_heads: int, size: int) -> views.Index:
    """Order for `Reordered`: Hugging Face's rows are, per key head, its heads / kv_heads queries, its key, its value
    (each of `size` rows); GGUF's all queries, all keys, all values. Raises ValueError for sizes that no model has."""
    group = heads // kv_heads
    if not 0 < (heads + 2 * kv_heads) * size <= MOST_ROWS or kv_heads < 1:
        raise ValueError(f"{heads} heads of queries and {kv_heads} of keys with {size} rows each are asked for")
    rows = np.arange((heads + 2 * kv_heads) * size, dtype=np.int64).reshape(kv_heads, group + 2, size)
    return np.concatenate([rows[:, :group].reshape(-1), rows[:, group].reshape(-1), rows[:, group + 1].reshape(-1)])


def gathered(tensor: Lazy, order: views.Index) -> Lazy:
    """Rows (first axis) in another order; of a vector: its elements. Raises ValueError where the counts differ."""
    if tensor.shape[0] != len(order):
        raise ValueError(f"{tensor.name} has {tensor.shape[0]} rows, {len(order)} are wanted")
    if len(tensor.shape) == 1:
        column = views.reshaped(tensor, (len(order), 1))
        return views.reshaped(views.row_gather(column, order, column.shape), tensor.shape)
    if len(tensor.shape) != 2:
        raise ValueError(f"{tensor.name} has {len(tensor.shape)} axes, rows of a matrix are wanted")
    return views.row_gather(tensor, order, tensor.shape)


def split_rows(tensor: Lazy, names: Names, sizes: Sequence[int]) -> list[Lazy]:
    """Parts along the last axis but one (of a vector: its only one). Raises ValueError where the sizes do not fill it."""
    vector = len(tensor.shape) == 1
    whole = views.reshaped(tensor, (*tensor.shape, 1)) if vector else tensor
    lead, rows, columns = whole.shape[:-2], whole.shape[-2], whole.shape[-1]
    if sum(sizes) != rows:
        raise ValueError(f"{tensor.name} has {rows} rows, its parts ask for {' + '.join(map(str, sizes))}")
    parts, start = [], 0
    for name, size in zip(names, sizes, strict=True):
        part = _part(whole, start, size, (*lead, size, columns))
        parts.append(views.renamed(views.reshaped(part, (size,)) if vector else part, name))
        start += size
    return parts


def _part(whole: Lazy, start: int, size: int, shape: tuple[int, ...]) -> Lazy:
    if len(shape) == 2:
        return views.row_slice(whole, start, start + size, shape)
    rows = whole.shape[-2]
    return views.row_gather(whole, lambda a, b: _spread(np.arange(a, b, dtype=np.int64), start, size, rows), shape)


def _spread(index: views.Index, start: int, size: int, rows: int) -> views.Index:
    return index // size * rows + start + index % size


def joined_rows(name: str, tensors: Tensors) -> Lazy:
    """The parts one after another, along the last axis but one (of vectors: along their only one)."""
    tensors = alike(tensors)
    if len(tensors[0].shape) == 1:
        columns = [views.reshaped(tensor, (*tensor.shape, 1)) for tensor in tensors]
        total = sum(tensor.size for tensor in tensors)
        return views.reshaped(views.row_concat(name, columns, (total, 1)), (total,))
    lead, columns_ = tensors[0].shape[:-2], tensors[0].shape[-1]
    sizes = [tensor.shape[-2] for tensor in tensors]
    flat = views.row_concat(name, tensors, (sum(tensor.rows for tensor in tensors), columns_))
    shape = (*lead, sum(sizes), columns_)
    return views.reshaped(flat, shape) if not lead else views.row_gather(flat, _weave(lead, sizes), shape)


def _weave(lead: tuple[int, ...], sizes: Sequence[int]) -> views.Index:
    """Rows of parts [lead, size] laid side by side per leading index, in a concatenation of whole parts."""
    count = int(np.prod(lead))
    starts = np.cumsum([0, *(count * size for size in sizes)])[:-1]
    parts = [start + np.arange(count * size).reshape(count, size) for start, size in zip(starts, sizes, strict=True)]
    return np.concatenate(parts, axis=1).reshape(-1).astype(np.int64)


def alike(tensors: Tensors) -> list[Lazy]:
    """Tensors of one type: as they are, or all as F32 where their types differ (a mix of quantizations)."""
    if len({tensor.type for tensor in tensors}) == 1:
        return list(tensors)
    return [tensor if tensor.type == "F32" else views.mapped(tensor, lambda values: values) for tensor in tensors]


def unblocked(tensor: Lazy) -> Lazy:
    """The tensor itself where each element stands by itself, else decoded to F32."""
    return tensor if views.is_plain(tensor.type) else views.mapped(tensor, lambda values: values)
