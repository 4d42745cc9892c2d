"""Matrix products."""

from __future__ import annotations

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


@op("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@op("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor = None) -> Tensor:
    a = a.T if call.integer("transA") else a
    b = b.T if call.integer("transB") else b
    product, alpha, beta = torch.matmul(a, b), call.number("alpha", 1.0), call.number("beta", 1.0)
    product = product if alpha == 1 else product * alpha
    if c is None:
        return product
    return product + (c if beta == 1 else c * beta)


@op("Einsum")
def einsum(call: Call, *items: Tensor) -> Tensor:
    return torch.einsum(call.string("equation").replace(" ", ""), *items)


@op("MatMulInteger")
def matmul_integer(call: Call, a: Tensor, b: Tensor, za: Tensor = None, zb: Tensor = None) -> Tensor:
    left, right = a.to(torch.int32), b.to(torch.int32)
    if za is not None:
        rows = za.ndim == 1 and za.numel() > 1
        left = left - (za[:, None] if rows else za).to(torch.int32)
    right = right if zb is None else right - zb.to(torch.int32)
    return torch.matmul(left, right)
