"""Transforms of tensors against numpy's and torch's words for the same, forth and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bessemer.architectures.transforms import (
    Fused,
    Mapped,
    Plus,
    Reordered,
    Reshaped,
    RopePermute,
    Split,
    Stacked,
    Transform,
    Transposed,
    interleaved,
)
from bessemer.ir.checkpoint import Lazy
from bessemer.weights import views

_CONFIG: dict[str, Any] = {"heads": 4}


def _heads(config: Any) -> int:
    return int(config["heads"])


def _there(transform: Transform, arrays: list[Any], count: int) -> list[Lazy]:
    tensors = [views.from_array(f"hf{at}", values) for at, values in enumerate(arrays)]
    made = transform.forward(tensors, [f"g{at}" for at in range(count)], _CONFIG)
    again = transform.backward(made, [tensor.name for tensor in tensors], _CONFIG)
    for one, other in zip(tensors, again, strict=True):
        assert other.name == one.name
        np.testing.assert_array_equal(views.stored(one), views.stored(other))
    return made


@pytest.mark.parametrize("shape", [(32, 6), (32,)])
def test_halves_of_a_head_become_neighbours(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    made = _there(RopePermute(_heads), [values], 1)[0]
    wanted = values.reshape(4, 2, 4, *shape[1:]).swapaxes(1, 2).reshape(shape)
    np.testing.assert_array_equal(views.stored(made), wanted)
    partial = _there(RopePermute(_heads, lambda config: 4), [values], 1)[0]
    by_head = values.reshape(4, 8, *shape[1:])
    turned = by_head[:, :4].reshape(4, 2, 2, *shape[1:]).swapaxes(1, 2).reshape(4, 4, *shape[1:])
    np.testing.assert_array_equal(views.stored(partial), np.concatenate([turned, by_head[:, 4:]], 1).reshape(shape))


def test_blocks_are_moved_as_they_are_stored() -> None:
    data = np.random.default_rng(1).integers(0, 256, (32, 18), np.uint8)
    tensor = Lazy("q", (32, 32), "Q4_0", 18, lambda start, stop: data[start:stop])
    made = RopePermute(_heads).forward([tensor], ["g"], _CONFIG)[0]
    order = np.arange(32).reshape(4, 2, 4).swapaxes(1, 2).reshape(-1)
    assert made.type == "Q4_0"
    np.testing.assert_array_equal(made.read(0, 32), data[order])


def test_stacks_splits_and_unions() -> None:
    draw = np.random.default_rng(2)
    parts = [draw.normal(size=(3, 5)).astype(np.float32) for _ in range(4)]
    stacked = _there(Stacked(), parts, 1)[0]
    np.testing.assert_array_equal(views.stored(stacked), np.stack(parts))
    whole = draw.normal(size=(3, 8, 5)).astype(np.float32)
    first, second = _there(Split(lambda config: (6, 2)), [whole], 2)
    np.testing.assert_array_equal(views.stored(first), whole[:, :6])
    np.testing.assert_array_equal(views.stored(second)[1:], whole[1:, 6:])
    joined = _there(Fused(lambda config: (3, 3)), parts[:2], 1)[0]
    np.testing.assert_array_equal(views.stored(joined), np.concatenate(parts[:2]))
    vectors = [draw.normal(size=size).astype(np.float32) for size in (3, 5)]
    joined = _there(Fused(lambda config: (3, 5)), vectors, 1)[0]
    np.testing.assert_array_equal(views.stored(joined), np.concatenate(vectors))


def test_values_in_other_orders() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(views.stored(_there(Transposed(), [values], 1)[0]), values.T)
    np.testing.assert_array_equal(views.stored(_there(Plus(1.0), [values], 1)[0]), values + 1)
    negative = Mapped(lambda x: -x, lambda x: -x)
    np.testing.assert_array_equal(views.stored(_there(negative, [values], 1)[0]), -values)
    flat = Reshaped(lambda config, shape: (24,), lambda config, shape: (4, 6))
    np.testing.assert_array_equal(views.stored(_there(flat, [values], 1)[0]), values.reshape(-1))


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (5, 1)])
def test_interleaved_rows_are_queries_keys_and_values(heads: int, kv_heads: int) -> None:
    size, group = 3, heads // kv_heads
    values = np.random.default_rng(3).normal(size=((heads + 2 * kv_heads) * size, 2)).astype(np.float32)
    made = views.stored(_there(Reordered(lambda config: interleaved(heads, kv_heads, size)), [values], 1)[0])
    grouped = values.reshape(kv_heads, group + 2, size, 2)
    queries, keys, held = grouped[:, :group], grouped[:, group], grouped[:, group + 1]
    np.testing.assert_array_equal(made, np.concatenate([part.reshape(-1, 2) for part in (queries, keys, held)]))


@pytest.mark.parametrize(
    ("transform", "shapes"),
    [
        (RopePermute(_heads), [(30, 2)]), (Stacked(), [(3, 2), (2, 2)]), (Split(lambda config: (3, 3)), [(7, 2)]),
        (Reordered(lambda config: np.arange(3)), [(4, 2)]), (Reordered(lambda config: np.arange(3)), [(3, 2, 2)]),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(transform: Transform, shapes: list[tuple[int, ...]]) -> None:
    tensors = [views.from_array(f"hf{at}", np.zeros(shape, np.float32)) for at, shape in enumerate(shapes)]
    with pytest.raises(ValueError, match=r"hf|g"):
        transform.forward(tensors, ["g0", "g1"][: 2 if isinstance(transform, Split) else 1], _CONFIG)
