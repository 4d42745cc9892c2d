"""Reductions."""

from __future__ import annotations

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


def _axes(call: Call, x: Tensor, axes: Tensor) -> list[int]:
    """The axes to reduce; none means all, or nothing where the node says so."""
    given = [] if axes is None else axes.reshape(-1).tolist()
    if given:
        return [axis % x.ndim for axis in given]
    return [] if call.integer("noop_with_empty_axes") else list(range(x.ndim))


def _max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, torch.amax)


def _min(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, torch.amin)


def _extreme(x: Tensor, axes: list[int], keep: bool, how: Tensor) -> Tensor:
    if x.numel() == 0:
        largest = how is torch.amax
        edge = (-torch.inf if largest else torch.inf) if x.is_floating_point() else _edge(x, largest)
        sizes = [1 if at in axes else size for at, size in enumerate(x.shape)]
        full = torch.full(sizes, edge, dtype=x.dtype)
        return full if keep else full.squeeze(axes)
    return how(x, axes, keep)


def _edge(x: Tensor, lowest: bool) -> int:
    return int(torch.iinfo(x.dtype).min if lowest else torch.iinfo(x.dtype).max)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in axes:
        x = x.prod(axis, True, dtype=x.dtype)
    return x if keep else x.squeeze(axes)


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keep) if x.is_floating_point() else x.to(torch.float64).mean(axes, keep).to(x.dtype)


def _l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    wide = x if x.is_floating_point() else x.to(torch.float64)
    return torch.sqrt((wide * wide).sum(axes, keep)).to(x.dtype)


def _logsumexp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    wide = x if x.is_floating_point() else x.to(torch.float64)
    return torch.logsumexp(wide, axes, keep).to(x.dtype)


def _log(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    total = x.sum(axes, keep)
    return torch.log(total if x.is_floating_point() else total.to(torch.float64)).to(x.dtype)


KINDS = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _max,
    "ReduceMin": _min,
    "ReduceProd": _prod,
    "ReduceL1": lambda x, axes, keep: _sum(torch.abs(x), axes, keep),
    "ReduceL2": _l2,
    "ReduceSumSquare": lambda x, axes, keep: _sum(x * x, axes, keep),
    "ReduceLogSum": _log,
    "ReduceLogSumExp": _logsumexp,
}

ELEMENTWISE = {
    "ReduceL1": torch.abs,
    "ReduceL2": torch.abs,
    "ReduceSumSquare": torch.square,
    "ReduceLogSum": torch.log,
    "ReduceLogSumExp": lambda x: x,
}
"""What is left of a reduction over no axes."""


@op(*KINDS)
def reduced(call: Call, x: Tensor, axes: Tensor = None) -> Tensor:
    kind, chosen = call.node.op_type, _axes(call, x, axes)
    if not chosen:
        return ELEMENTWISE.get(kind, lambda item: item)(x) if x.ndim == 0 or call.integer("noop_with_empty_axes") else x
    wide = x.to(torch.uint8) if x.dtype == torch.bool else x
    return KINDS[kind](wide, chosen, call.integer("keepdims", 1) == 1).to(x.dtype)


@op("ArgMax", "ArgMin")
def arg(call: Call, x: Tensor) -> Tensor:
    """The first of equals, or the last where the node says so."""
    axis, last = call.integer("axis") % x.ndim, call.integer("select_last_index") == 1
    ordered = x.flip(axis) if last else x
    best = (torch.amax if call.node.op_type == "ArgMax" else torch.amin)(ordered, axis, True)
    found = (ordered == best).to(torch.uint8).argmax(axis, True)
    found = x.shape[axis] - 1 - found if last else found
    return found if call.integer("keepdims", 1) else found.squeeze(axis)
