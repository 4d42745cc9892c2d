"""Sixteen lanes against numpy: conversions of every bit pattern, rounding, comparisons with NaN; how kernels are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bessemer.blocks import lanes
from bessemer.blocks.lanes import (
    compiled,
    floating,
    from_half,
    highest,
    level,
    load,
    lowest,
    nearest,
    pick,
    spread,
    store,
    to_half,
)

Run = Callable[[Any, Any], None]


@compiled
def _to_half(x: Any, out: Any) -> None:
    for i in range(len(x)):
        store(out, i, to_half(load(x, i)))


@compiled
def _from_half(x: Any, out: Any) -> None:
    for i in range(len(x)):
        store(out, i, from_half(load(x, i)))


@compiled
def _nearest(x: Any, out: Any) -> None:
    for i in range(len(x)):
        store(out, i, nearest(load(x, i)))


@compiled
def _level(x: Any, out: Any) -> None:
    for i in range(len(x)):
        store(out, i, level(load(x, i), -4, 3))


@compiled
def _chosen(x: Any, out: Any) -> None:
    """Rows in pairs: 1 where the first is less, 2 where it is greater, 4 where equal, 8 where not; least - greatest."""
    for i in range(len(x) // 2):
        left, right = load(x, 2 * i), load(x, 2 * i + 1)
        none = spread(0)
        said = pick(left < right, 1, none) | pick(left > right, 2, none)
        store(out, 2 * i, floating(said | pick(left == right, 4, none) | pick(left != right, 8, none)))
        store(out, 2 * i + 1, lowest(left, right) - highest(left, right))


def _ran(run: Run, x: npt.NDArray[Any], kind: type) -> npt.NDArray[Any]:
    out = np.empty(x.shape, kind)
    run(x, out)
    return out


def _any_floats() -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).integers(0, 2**32, (4000, 16), dtype=np.uint32).view(np.float32)


def test_halves_are_numpys() -> None:
    every = np.arange(1 << 16, dtype=np.int32).reshape(-1, 16)
    back = every.astype(np.uint16).view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(_ran(_from_half, every, np.float32), back)
    finite = np.where(np.abs(back) < 65504, back, np.float32(65488))
    steps = finite.astype(np.float16)
    middle = (finite + np.nextafter(steps, np.float16(np.inf)).astype(np.float32)) / 2
    edges = middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf))
    last = np.linspace(65500, 65540, 1600, dtype=np.float32).reshape(-1, 16)  # where infinity begins
    for x in (_any_floats(), *edges, last):
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = x.astype(np.float16).view(np.uint16).astype(np.int32)
        got = _ran(_to_half, x.astype(np.float32), np.int32)
        np.testing.assert_array_equal(got[~np.isnan(x)], wanted[~np.isnan(x)])
        assert set(np.unique(got[np.isnan(x)])) <= {0x7E00, 0xFE00}


def test_rounding_is_to_even_and_wraps_like_ggmls_trick() -> None:
    near = (np.arange(-32000, 32000, dtype=np.float32) / 8).reshape(-1, 16)
    np.testing.assert_array_equal(_ran(_nearest, near, np.int32), np.rint(near))
    far = _any_floats()
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = (far + np.float32(12582912)).view(np.int32)
    wanted = (shifted & 0x007FFFFF) - 0x00400000
    np.testing.assert_array_equal(_ran(_nearest, far, np.int32), wanted)
    for x, rounded in ((near, np.rint(near)), (far, wanted)):
        np.testing.assert_array_equal(_ran(_level, x, np.float32), np.clip(rounded, -4, 3))


def test_comparisons_are_those_of_c() -> None:
    values = np.array([-np.inf, -1, -0.0, 0.0, 1, np.inf, np.nan, 2], np.float32)
    left, right = (np.tile(held, 16).reshape(-1, 16) for held in (np.repeat(values, 8), np.tile(values, 8)))
    x = np.stack([left, right], 1).reshape(-1, 16)
    got = _ran(_chosen, x, np.float32)
    wanted = (left < right) * 1 + (left > right) * 2 + (left == right) * 4 + (left != right) * 8
    np.testing.assert_array_equal(got[::2], wanted)
    with np.errstate(invalid="ignore"):  # inf - inf
        parts = np.where(left < right, left, right) - np.where(left > right, left, right)
    np.testing.assert_array_equal(got[1::2], parts)


def test_kernels_compile_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(lanes, "_Kept", nowhere)
    kernel = compiled(lambda x: x + 1)
    assert kernel(1) == 2


def test_a_kernel_is_kept_until_the_sources_change(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = lanes._Kept(_nearest.py_func)  # type: ignore[attr-defined]
    codegen = _nearest.targetctx.codegen()  # type: ignore[attr-defined]
    key = kept._index_key((), codegen)
    assert kept._index_key((), codegen) == key
    monkeypatch.setattr(lanes, "_sources", lambda: "other")
    assert kept._index_key((), codegen) != key
