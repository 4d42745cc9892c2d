"""The model files. A file is taken for one only where its sizes account for every byte of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from bessemer.wire.errors import WireError

MAGIC = 0x616B3432
HEADER = 256
LARGEST = 1 << 20
"""No size in a header is larger; what they make together is checked by the file's length."""


@dataclass(frozen=True)
class Sizes:
    """shared: the output matrix is the embedding; group: elements that share a scale, 0 for float32."""

    version: int
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    shared: bool
    group: int = 0

    @property
    def head(self) -> int:
        """Elements of a head."""
        return self.dim // self.heads


@dataclass(frozen=True)
class Place:
    """Where a tensor lies. name: Meta's; offset: of its float32 elements or int8 codes; scales: of its groups' scales."""

    name: str
    shape: tuple[int, ...]
    offset: int
    scales: int | None = None


@dataclass(frozen=True)
class Model:
    """A whole file."""

    sizes: Sizes
    places: tuple[Place, ...]


def read(path: Path) -> Model:
    """Sizes and places. Raises WireError where the header is none, or does not account for the file's length; OSError."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    return _model(head, path.stat().st_size)


def plausible(head: bytes, size: int) -> bool:
    """Whether a file that begins with these bytes, and has so many, is one."""
    try:
        _model(head[:HEADER], size)
    except WireError:
        return False
    return True


def _model(head: bytes, size: int) -> Model:
    if len(head) < 28:
        raise WireError("a llama2.c file has at least 28 bytes", offset=0)
    versioned = struct.unpack_from("<I", head)[0] == MAGIC
    sizes = _versioned(head) if versioned else _sizes(0, struct.unpack_from("<7i", head), None)
    places, end = _places(sizes)
    if end != size:
        raise WireError(f"sizes of a model of {end} bytes in a file of {size}", offset=0)
    return Model(sizes, places)


def _versioned(head: bytes) -> Sizes:
    if len(head) < HEADER:
        raise WireError(f"a header of {len(head)} bytes, {HEADER} are the format's", offset=0)
    version, *numbers, shared = struct.unpack_from("<i7iB", head, 4)
    if version not in (1, 2) or shared > 1:
        raise WireError(f"a llama2.c file of version {version}; 0, 1 and 2 are read", offset=4)
    sizes = _sizes(version, tuple(numbers), bool(shared))
    if version == 1:
        return sizes
    group = struct.unpack_from("<i", head, 37)[0]
    if not 0 < group <= sizes.dim:
        raise WireError(f"groups of {group} elements", offset=37)
    return Sizes(**{**sizes.__dict__, "group": group})


def _sizes(version: int, numbers: tuple[int, ...], shared: bool | None) -> Sizes:
    """shared None: the sign of the vocabulary's size says it."""
    dim, hidden, layers, heads, kv_heads, vocab, context = numbers
    shared = vocab > 0 if shared is None else shared
    vocab = abs(vocab) if version == 0 else vocab
    if not all(0 < number <= LARGEST for number in (dim, hidden, layers, heads, kv_heads, vocab, context)):
        raise WireError("sizes that no model has", offset=0)
    if dim % heads or heads % kv_heads or layers > 1 << 12:
        raise WireError(f"{heads} heads over {dim} elements, {kv_heads} of keys, in {layers} layers", offset=0)
    return Sizes(version, dim, hidden, layers, heads, kv_heads, vocab, context, shared)


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Of the matrices and norms, by Meta's names without the layer."""
    s = sizes
    kv = s.head * s.kv_heads
    return {
        "attention_norm": (s.dim,), "ffn_norm": (s.dim,), "norm": (s.dim,), "tok_embeddings": (s.vocab, s.dim),
        "output": (s.vocab, s.dim), "attention.wq": (s.dim, s.dim), "attention.wk": (kv, s.dim),
        "attention.wv": (kv, s.dim), "attention.wo": (s.dim, s.dim), "feed_forward.w1": (s.hidden, s.dim),
        "feed_forward.w2": (s.dim, s.hidden), "feed_forward.w3": (s.hidden, s.dim),
    }  # fmt: skip


ATTENTION = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
FORWARD = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
ORDER_0 = ("tok_embeddings", "attention_norm", *ATTENTION, "ffn_norm", *FORWARD, "norm", "angles", "output")
ORDER_1 = ("attention_norm", "ffn_norm", "norm", "tok_embeddings", *ATTENTION, *FORWARD, "output")
NORMS = ("attention_norm", "ffn_norm", "norm")
ENDS = ("tok_embeddings", "norm", "output", "angles")


def _places(sizes: Sizes) -> tuple[tuple[Place, ...], int]:
    """Every tensor's place, and where the file ends. Raises WireError for matrices that groups do not fill."""
    found, at = [], HEADER if sizes.version else 28
    shapes = _shapes(sizes)
    for role in ORDER_1 if sizes.version else ORDER_0:
        if role == "angles":
            at += sizes.context * (sizes.head // 2) * 2 * 4
        elif role != "output" or not sizes.shared:
            for name in _names(role, sizes):
                place, at = _placed(name, shapes[role], at, 0 if role in NORMS else sizes.group)
                found.append(place)
    return tuple(found), at


def _names(role: str, sizes: Sizes) -> Iterator[str]:
    if role in ENDS:
        yield f"{role}.weight"
        return
    yield from (f"layers.{layer}.{role}.weight" for layer in range(sizes.layers))


def _placed(name: str, shape: tuple[int, ...], at: int, group: int) -> tuple[Place, int]:
    count = prod(shape)
    if not group:
        return Place(name, shape, at), at + 4 * count
    if count % group:
        raise WireError(f"{count} elements in groups of {group}", where=name)
    return Place(name, shape, at, at + count), at + count + 4 * (count // group)
