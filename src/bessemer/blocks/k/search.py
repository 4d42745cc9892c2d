"""How the k-quants choose scales: weighted least squares over a few roundings, sixteen blocks at once, one in each lane.

The names in brackets are ggml's (ggml-quants.c); results are equal bit for bit, so sums run in its order and every operation
rounds to float32. Arrays are [elements, 16 lanes]. `levels` gets the whole numbers chosen (as float32).
"""

from __future__ import annotations

import numpy as np

from bessemer.blocks.lanes import (
    Value,
    floating,
    highest,
    inlined,
    level,
    load,
    lowest,
    magnitude,
    nearest,
    pick,
    root,
    some,
    spread,
    store,
    whole,
)

EMPTY = np.float32(1e-15)
"""Below this magnitude a block counts as zeros (GROUP_MAX_EPS)."""

ZERO, ONE, TENTH = np.float32(0), np.float32(1), np.float32(0.1)


# --- scale and minimum (make_qkx2_quants; make_qkx3_quants with weights is the same search)


@inlined
def _extremes(x: Value, weights: Value) -> Value:
    """Least (at most 0) and greatest element, sum of weights, weighted sum."""
    least = most = load(x, 0)
    sum_w = load(weights, 0)
    sum_x = sum_w * least
    for i in range(1, len(x)):
        value, weight = load(x, i), load(weights, i)
        least = lowest(value, least)
        most = highest(value, most)
        sum_w += weight
        sum_x += weight * value
    return pick(least > ZERO, ZERO, least), most, sum_w, sum_x


@inlined
def _error(x: Value, weights: Value, levels: Value, scale: Value, minimum: Value, absolute: bool) -> Value:
    """Weighted error of scale * level + minimum: of magnitudes, or of squares."""
    total = spread(ZERO)
    for i in range(len(x)):
        off = scale * load(levels, i) + minimum - load(x, i)
        off = magnitude(off) if absolute else off * off
        total += load(weights, i) * off
    return total


@inlined
def _fit(x: Value, weights: Value, inverse: Value, minimum: Value, top: Value, sums: Value, levels: Value) -> Value:
    """Rounds (x - minimum) * inverse to levels, and solves the least squares for them: (scale, minimum, solvable)."""
    sum_w, sum_x = sums
    sum_l = sum_l2 = sum_xl = spread(ZERO)
    for i in range(len(x)):
        value, weight = load(x, i), load(weights, i)
        rounded = level(inverse * (value - minimum), 0, top)
        store(levels, i, rounded)
        weighted = weight * rounded
        sum_l += weighted
        sum_l2 += weighted * rounded
        sum_xl += weighted * value
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    positive = offset > ZERO
    return pick(positive, sum_xl / sum_l2, scale), pick(positive, ZERO, offset), determinant > ZERO


@inlined
def scale_and_minimum(
    x: Value, weights: Value, top: int, first: Value, step: Value, steps: int, absolute: bool, trial: Value, levels: Value
) -> Value:
    """Scale and minimum (turned positive) for levels 0..top: tries the roundings for top + first + step * (0..steps)
    and keeps the one of least error. A minimum found is where the next trial rounds from. trial: space for levels."""
    least, most, sum_w, sum_x = _extremes(x, weights)
    inverse = np.float32(top) / (most - least)
    scale, minimum = ONE / inverse, least
    for i in range(len(x)):
        store(trial, i, level(inverse * (load(x, i) - least), 0, top))
    best = _error(x, weights, trial, scale, minimum, absolute)
    best_inverse, rounded_from = inverse, minimum  # levels are made again from these at the end
    for index in range(steps + 1):
        inverse = ((first + step * np.float32(index)) + np.float32(top)) / (most - minimum)
        found, offset, solvable = _fit(x, weights, inverse, minimum, top, (sum_w, sum_x), trial)
        error = _error(x, weights, trial, found, offset, absolute)
        better = solvable & (error < best)
        best_inverse, rounded_from = pick(better, inverse, best_inverse), pick(better, minimum, rounded_from)
        best, scale, minimum = pick(better, error, best), pick(better, found, scale), pick(better, offset, minimum)
    flat = most == least
    for i in range(len(x)):
        store(levels, i, pick(flat, ZERO, level(best_inverse * (load(x, i) - rounded_from), 0, top)))
    return pick(flat, ZERO, scale), -pick(flat, least, minimum)


# --- scale alone, levels of both signs (make_qx_quants, rmse_type 1)


@inlined
def _farthest(x: Value) -> Value:
    """The element of greatest magnitude (the first of equals), and its magnitude."""
    most = far = spread(ZERO)
    for i in range(len(x)):
        value = load(x, i)
        size = magnitude(value)
        far = pick(size > most, value, far)
        most = highest(size, most)
    return far, most


@inlined
def _products(x: Value, weights: Value, inverse: Value, top: Value) -> Value:
    """Weighted sums of x * level and of level * level for the levels that `inverse` rounds to."""
    sum_lx = sum_l2 = spread(ZERO)
    for i in range(len(x)):
        value, weight = load(x, i), load(weights, i)
        rounded = level(inverse * value, -top, top - 1)
        sum_lx += (weight * value) * rounded
        sum_l2 += (weight * rounded) * rounded
    return sum_lx, sum_l2


@inlined
def signed_scale(x: Value, weights: Value, top: Value, levels: Value) -> Value:
    """Scale for levels -top..top-1, of which `levels` gets level + top: tries 19 roundings around top."""
    far, most = _farthest(x)
    inverse = np.float32(-top) / far
    sum_lx, sum_l2 = _products(x, weights, inverse, top)
    scale = pick(sum_l2 != ZERO, sum_lx / sum_l2, ZERO)
    best = scale * sum_lx
    best_inverse = inverse
    for index in range(-9, 10):
        if index == 0:
            continue
        inverse = -(np.float32(top) + TENTH * np.float32(index)) / far
        sum_lx, sum_l2 = _products(x, weights, inverse, top)
        better = (sum_l2 > ZERO) & (sum_lx * sum_lx > best * sum_l2)
        best_inverse = pick(better, inverse, best_inverse)
        scale = pick(better, sum_lx / sum_l2, scale)
        best = pick(better, scale * sum_lx, best)
    empty = most < EMPTY
    for i in range(len(x)):
        rounded = level(best_inverse * load(x, i), -top, top - 1) + np.float32(top)
        store(levels, i, pick(empty, ZERO, rounded))
    return pick(empty, ZERO, scale)


# --- scale alone, by moving one level at a time (make_q3_quants, make_qp_quants)


@inlined
def _byte(value: Value) -> Value:
    """A whole number as C's uint8_t keeps it."""
    return floating(whole(value) & 0xFF)


@inlined
def _improve(x: Value, weights: Value, low: Value, high: Value, signed: bool, sums: Value, levels: Value) -> Value:
    """Up to 5 rounds: each level moves to the best one for the scale of all others, where the error falls. Lanes without
    a change stay as they are, as in ggml, which stops there. signed: bounds checked as make_q3_quants does; else as
    make_qp_quants does, whose levels are bytes. Returns the sums of `_products`."""
    sum_lx, sum_l2 = sums
    for _ in range(5):
        moved = False
        for i in range(len(x)):
            value, weight, held = load(x, i), load(weights, i), load(levels, i)
            rest_lx = sum_lx - (weight * value) * held
            rest_l2 = sum_l2 - (weight * held) * held
            wanted = level(value * rest_l2 / rest_lx, low, high)
            new_lx = rest_lx + (weight * value) * wanted
            new_l2 = rest_l2 + (weight * wanted) * wanted
            possible = (rest_lx > ZERO) & ((new_l2 if signed else rest_l2) > ZERO) & (wanted != held)
            take = possible & (new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2)
            store(levels, i, pick(take, wanted if signed else _byte(wanted), held))
            sum_lx, sum_l2 = pick(take, new_lx, sum_lx), pick(take, new_l2, sum_l2)
            moved |= some(take)
        if not moved:
            break
    return sum_lx, sum_l2


@inlined
def descended_scale(x: Value, top: Value, squares: Value, levels: Value) -> Value:
    """make_q3_quants: scale for levels -top..top-1 with weights x * x; `levels` gets level + top. squares: space."""
    far, most = _farthest(x)
    inverse = np.float32(-top) / far
    for i in range(len(x)):
        store(squares, i, load(x, i) * load(x, i))
        store(levels, i, level(inverse * load(x, i), -top, top - 1))
    sums = _products(x, squares, inverse, top)
    sum_lx, sum_l2 = _improve(x, squares, -top, top - 1, True, sums, levels)
    empty = most < EMPTY
    for i in range(len(x)):
        store(levels, i, pick(empty, ZERO, load(levels, i) + np.float32(top)))
    return pick(empty, ZERO, pick(sum_l2 > ZERO, sum_lx / sum_l2, ZERO))


@inlined
def _squared_error(x: Value, weights: Value, inverse: Value, top: Value) -> Value:
    """Weighted squared error of levels up to top."""
    scale = ONE / inverse
    total = spread(ZERO)
    for i in range(len(x)):
        off = load(x, i) - scale * level(inverse * load(x, i), _LEAST, top)
        total += (load(weights, i) * off) * off
    return total


@inlined
def _first_error(x: Value, weights: Value, inverse: Value) -> Value:
    """As `_squared_error`, for the first trial, whose levels have no bound but that of a byte."""
    scale = ONE / inverse
    total = spread(ZERO)
    for i in range(len(x)):
        off = load(x, i) - scale * floating(nearest(inverse * load(x, i)) & 0xFF)
        total += (load(weights, i) * off) * off
    return total


_LEAST = -0x400000
"""nearest_int gives nothing below: no bound."""


@inlined
def positive_scale(x: Value, weights: Value, top: Value, levels: Value) -> Value:
    """make_qp_quants: scale for levels 0..top of numbers that should not be negative (a negative level wraps to a byte)."""
    most = spread(ZERO)
    for i in range(len(x)):
        most = highest(most, load(x, i))
    inverse = np.float32(top) / most
    best = _first_error(x, weights, inverse)
    for index in range(-4, 5):
        if index == 0:
            continue
        trial = (TENTH * np.float32(index) + np.float32(top)) / most
        error = _squared_error(x, weights, trial, top)
        inverse, best = pick(error < best, trial, inverse), pick(error < best, error, best)
    sum_lx = sum_l2 = spread(ZERO)
    for i in range(len(x)):
        value, weight = load(x, i), load(weights, i)
        rounded = level(inverse * value, _LEAST, top)
        store(levels, i, _byte(rounded))
        sum_lx += (weight * value) * rounded
        sum_l2 += (weight * rounded) * rounded
    sum_lx, sum_l2 = _improve(x, weights, _LEAST, top, False, (sum_lx, sum_l2), levels)
    empty = most < EMPTY
    for i in range(len(x)):
        store(levels, i, pick(empty, ZERO, load(levels, i)))
    return pick(empty, ZERO, pick(sum_l2 > ZERO, sum_lx / sum_l2, ZERO))


# --- the second rounding, with the scales as the file holds them


@inlined
def round_again(x: Value, scale: Value, minimum: Value, low: Value, high: Value, levels: Value) -> None:
    """levels = (x + minimum) / scale, counted from `low`; lanes whose scale is 0 keep what they have."""
    kept = scale == ZERO
    for i in range(len(x)):
        rounded = level((load(x, i) + minimum) / scale, low, high) - np.float32(low)
        store(levels, i, pick(kept, load(levels, i), rounded))


@inlined
def sum_of_squares(x: Value) -> Value:
    total = spread(ZERO)
    for i in range(len(x)):
        total += load(x, i) * load(x, i)
    return total


@inlined
def weigh(x: Value, importance: Value, spread_of_all: Value, weights: Value) -> Value:
    """weights = importance * sqrt(mean square + x * x); returns their sum."""
    total = spread(ZERO)
    for i in range(len(x)):
        value = load(x, i)
        weight = load(importance, i) * root(spread_of_all + value * value)
        store(weights, i, weight)
        total += weight
    return total
