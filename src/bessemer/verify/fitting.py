"""How arrays fit a model's inputs: shapes, the batch axis, types that can be cast without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, integer_limits, named_dtype

BATCH = 64
"""Largest batch where the model leaves it open."""


def only_input(signature: Signature, path: Path) -> TensorSpec:
    """The input that one array is for. Raises UsageError where there are several."""
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(
            f"--data {path} holds one array, but the model has {len(signature.inputs)} inputs",
            fix=f"Give an .npz with the arrays {names}",
        )
    return signature.inputs[0]


def is_one_set(arrays: Mapping[str, Array], signature: Signature) -> bool:
    """Whether the arrays are one run as they stand: first axes that are no common batch cannot be cut."""
    firsts = [spec.shape[0] if spec.shape else "scalar" for spec in signature.inputs]
    fixed = [first for first in firsts if isinstance(first, int)]
    alike = not fixed or (len(fixed) == len(firsts) and len(set(fixed)) == 1)
    counts = {arrays[spec.name].shape[:1] for spec in signature.inputs}
    return "scalar" in firsts or not alike or len(counts) != 1


def check(array: Array, spec: TensorSpec, path: Path, whole: bool) -> None:
    """Raise UsageError where an array (with its first axis, or as a whole) has another shape than the input."""
    wanted, have = (spec.shape, array.shape) if whole else (spec.shape[1:], array.shape[1:])
    if array.ndim == len(spec.shape) and _equal(wanted, have):
        return
    usual = (
        "The arrays of several inputs are one run, of exactly their shapes"
        if whole
        else "The first axis counts samples; the others must equal the input's"
    )
    raise UsageError(
        f"--data {path} does not fit the input '{spec}': it has shape {list(array.shape)}",
        fix=_other_layout(spec, array) or usual,
    )


def _equal(wanted: Sequence[int | str | None], have: Sequence[int]) -> bool:
    return len(wanted) == len(have) and all(
        not isinstance(want, int) or want == size for want, size in zip(wanted, have, strict=True)
    )


def _other_layout(spec: TensorSpec, array: Array) -> str:
    """The transposition that mends channels on the other side, as advice; '' where it would not."""
    if array.ndim != len(spec.shape) or array.ndim < 3:
        return ""
    last = array.ndim - 1
    for there, here, perm in (("first", "last", (0, last, *range(1, last))), ("last", "first", (0, *range(2, last + 1), 1))):
        if perm != tuple(range(array.ndim)) and _equal(spec.shape[1:], [array.shape[place] for place in perm[1:]]):
            return (
                f"The data is channels-{here} and the input channels-{there}: save it as array.transpose{perm}"
            )
    return ""


def batch(signature: Signature, count: int) -> tuple[int, bool]:
    """Samples per run, and whether the model fixes them; else up to BATCH."""
    first = signature.inputs[0].shape[0] if signature.inputs and signature.inputs[0].shape else 1
    return (max(first, 1), True) if isinstance(first, int) else (max(min(BATCH, count), 1), False)


def cast(array: Array, spec: TensorSpec) -> Array:
    """The array in the input's type. Raises UsageError where that would truncate."""
    if spec.dtype == "str":
        return array.astype(object)
    wanted = named_dtype(spec.dtype)
    if array.dtype.kind == "f" and wanted.kind in "iu":
        raise UsageError(
            f"The data for '{spec.name}' is {array.dtype}, the input wants {wanted}",
            fix="Save the array with the input's type: a silent cast would truncate",
        )
    if array.dtype.kind in "iu" and wanted.kind in "iu" and array.size and not np.can_cast(array.dtype, wanted):
        _check_fits(array, wanted, spec)
    return np.asarray(array).astype(wanted, order="C")


def _check_fits(array: Array, wanted: np.dtype[np.generic], spec: TensorSpec) -> None:
    low, high, (lowest, highest) = int(array.min()), int(array.max()), integer_limits(wanted)
    if low < lowest or high > highest:
        raise UsageError(
            f"The data for '{spec.name}' reaches from {low} to {high}", why=f"the input is {wanted}"
        )
