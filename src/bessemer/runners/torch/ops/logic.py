"""Logarithmic, determinants and other small mathematics that is neither element-wise nor a reduction."""

from __future__ import annotations

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


@op("Det")
def det(call: Call, x: Tensor) -> Tensor:
    return torch.linalg.det(x)


def _running(call: Call, x: Tensor, axis: Tensor, neutral: int) -> Tensor:
    at = int(axis)
    x = x.flip(at) if call.integer("reverse") else x
    found = (torch.cumprod if neutral else torch.cumsum)(x, at, dtype=x.dtype)
    if call.integer("exclusive"):
        first = torch.full_like(x.narrow(at, 0, 1), neutral)
        found = torch.cat([first, found.narrow(at, 0, x.shape[at] - 1)], at)
    return found.flip(at) if call.integer("reverse") else found


@op("CumSum")
def cumsum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    return _running(call, x, axis, 0)


@op("CumProd")
def cumprod(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    return _running(call, x, axis, 1)


@op("Trilu")
def trilu(call: Call, x: Tensor, k: Tensor = None) -> Tensor:
    by = 0 if k is None else int(k)
    return torch.triu(x, by) if call.integer("upper", 1) else torch.tril(x, by)
