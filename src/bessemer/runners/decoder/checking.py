"""Whether weights have the sizes that a decoder's settings ask for: its wiring, walked with numbers of columns alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from bessemer.ir.decoder import Activation, Decoder, Experts, Rope
from bessemer.runners.decoder.border import cache_sizes, key_sizes
from bessemer.runners.decoder.wiring import Wiring

COUNTS = ("hidden", "heads", "kv_heads", "head_dim", "vocabulary", "context")
NUMBERS = (
    "eps", "scale", "softcap", "norm_offset", "position_offset", "alibi_bias", "embedding_scale", "residual_scale",
    "logit_scale", "logit_softcap", "clip_qkv",
)  # fmt: skip
MOST = 1 << 31
Shapes = Mapping[str, tuple[int, ...]]


class Contradiction(Exception):
    """The first weight that does not fit, and how."""


def check(decoder: Decoder, shapes: Shapes) -> None:
    """shapes: of the weights by role. Raises Contradiction; nothing is read or computed."""
    for name in COUNTS:
        count = getattr(decoder, name)
        if type(count) is not int or not 0 < count <= MOST:
            raise Contradiction(f"the number of {name.replace('_', ' ')} is {str(count)[:40]!r}")
    for name in NUMBERS:
        number = getattr(decoder, name)
        if type(number) not in (int, float) or not isfinite(number):
            raise Contradiction(f"the number {name} is {str(number)[:40]!r}")
    sizes = _Sizes(decoder, shapes)
    wiring = Wiring(decoder, sizes)
    found = wiring.logits(wiring.hidden())
    left = sorted(shapes.keys() - sizes.used)
    if left:
        raise Contradiction(f"{left[0]} ({len(left)} in all) has no part in what the settings say is computed")
    if found != decoder.vocabulary:
        raise Contradiction(f"the output matrix gives {found} logits, the settings say {decoder.vocabulary}")


class _Sizes:
    """`Operations` on numbers of columns."""

    def __init__(self, decoder: Decoder, shapes: Shapes) -> None:
        self._decoder, self._shapes = decoder, shapes
        self.used: set[str] = set()

    def has(self, role: str) -> bool:
        return role in self._shapes

    def tokens(self, role: str) -> int:
        return self._table(role, self._decoder.vocabulary)

    def places(self, role: str, offset: int) -> int:
        return self._table(role, self._decoder.context + offset)

    def first_row(self, role: str) -> int:
        return self._table(role, 1)

    def linear(self, x: int, role: str) -> int:
        results, columns = self._matrix(f"{role}.weight", 2)
        if columns != x:
            raise Contradiction(f"{role}.weight takes {columns} columns, and {x} come in")
        self._vector(f"{role}.bias", results)
        return results

    def normalized(self, x: int, role: str, kind: str, heads: int = 1) -> int:
        if f"{role}.weight" not in self._shapes and kind == "rms":
            raise Contradiction(f"{role}.weight is missing")
        for part in (f"{role}.weight", f"{role}.bias"):
            self._vector(part, x // heads, x)
        return x

    def split(self, x: int, sizes: Sequence[int], heads: int = 1) -> list[int]:
        self._equal("columns that are split", x, sum(sizes) * heads)
        return [size * heads for size in sizes]

    def halves(self, x: int) -> tuple[int, int]:
        self._equal("columns of a gate and what it lets through", x, x // 2 * 2)
        return x // 2, x // 2

    def joined(self, parts: Sequence[int], heads: int) -> int:
        return sum(parts)

    def spread(self, x: int, heads: int) -> int:
        return x * heads

    def turned(self, x: int, rope: Rope, heads: int) -> int:
        if x % heads or not 0 < rope.dims <= x // heads or rope.dims % 2 or len(rope.inverse) not in (0, rope.dims // 2):
            raise Contradiction(f"{rope.dims} columns of a head turn, and it has {x / heads:g}")
        return x

    def attended(self, query: int, key: int, value: int, layer: int) -> int:
        heads, width, depth = key_sizes(self._decoder)
        self._equal("columns of queries", query, self._decoder.heads * width)
        self._equal("columns of keys", key, heads * width)
        self._equal("columns of values", value, heads * depth)
        if heads < 1 or self._decoder.heads % heads:
            raise Contradiction(f"{self._decoder.heads} heads cannot share {heads} of keys")
        return self._decoder.heads * depth

    def kept(self, key: int, value: int, layer: int) -> tuple[int, int]:
        heads, *sizes = cache_sizes(self._decoder)
        self._equal("columns that are kept", key + value, heads * sum(sizes))
        return key, value

    def mixed(self, x: int, at: str, experts: Experts) -> int:
        self._equal("scores of experts", self.linear(x, f"{at}ffn_gate_inp"), experts.count)
        self._vector(f"{at}exp_probs_b.bias", experts.count)
        if not 0 < experts.used <= experts.count or experts.count % experts.groups or experts.groups_used > experts.groups:
            raise Contradiction(f"{experts.used} of {experts.count} experts in {experts.groups} groups cannot be chosen")
        for name in ("up", "gate") if self._decoder.gated else ("up",):
            inner = self._expert(x, f"{at}ffn_{name}_exps", experts.count)
        return self._expert(inner, f"{at}ffn_down_exps", experts.count)

    def activated(self, x: int, kind: Activation) -> int:
        return x

    def plus(self, a: int, b: int) -> int:
        self._equal("columns of a sum", a, b)
        return a

    def times(self, a: int, b: int) -> int:
        if b != 1:
            self._equal("columns of a product", a, b)
        return a

    def scaled(self, x: int, factor: float) -> int:
        return x

    def capped(self, x: int, limit: float) -> int:
        return x

    def clipped(self, x: int, limit: float) -> int:
        return x

    def _expert(self, x: int, role: str, count: int) -> int:
        every, results, columns = self._matrix(f"{role}.weight", 3)
        self._equal(f"experts in {role}", every, count)
        self._equal(f"columns of {role}", columns, x)
        return results

    def _table(self, role: str, rows: int) -> int:
        have, columns = self._matrix(f"{role}.weight", 2)
        if have < rows:
            raise Contradiction(f"{role}.weight has {have} rows, the settings ask for {rows}")
        return columns

    def _matrix(self, role: str, rank: int) -> tuple[int, ...]:
        self.used.add(role)
        shape = self._shapes.get(role)
        if shape is None:
            raise Contradiction(f"{role} is missing")
        if len(shape) == 1 and rank == 2:
            shape = (1, *shape)
        if len(shape) != rank or 0 in shape:
            raise Contradiction(f"{role} has the shape {list(shape)}, where {rank} axes are needed")
        return shape

    def _vector(self, role: str, *sizes: int) -> None:
        self.used.add(role)
        shape = self._shapes.get(role)
        size = 1
        for dim in shape or ():
            size *= dim
        if shape is not None and size not in sizes:
            raise Contradiction(f"{role} has {size} elements, where {' or '.join(map(str, sizes))} are needed")

    def _equal(self, what: str, a: int, b: int) -> None:
        if a != b:
            raise Contradiction(f"{what}: {a} and {b}")
