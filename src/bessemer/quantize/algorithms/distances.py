"""How far a student's answer is from the teacher's: sums over samples, on torch tensors with samples along axis 0.

What they are divided by, so that parts of a batch add up, is the trainer's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TINY = 1e-12


def l2rel(got: Any, wanted: Any) -> Any:
    """||got - wanted||^2, to be divided by ||wanted||^2 over the batch."""
    return (got - wanted).square().sum()


def ce(got: Any, wanted: Any) -> Any:
    """Cross entropy against the teacher's probabilities, -sum softmax(wanted) log softmax(got) over the last axis; its
    mean where a sample has several rows."""
    import torch

    entropy = -(torch.softmax(wanted, -1) * torch.log_softmax(got, -1)).sum(-1)
    return entropy.reshape(got.shape[0], -1).mean(1).sum()


def cosine(got: Any, wanted: Any) -> Any:
    """1 - cosine of the angle between the answers to each sample."""
    import torch

    mine, theirs = got.reshape(got.shape[0], -1), wanted.reshape(got.shape[0], -1)
    return (1 - torch.nn.functional.cosine_similarity(mine, theirs, dim=1, eps=TINY)).sum()


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"l2rel": l2rel, "ce": ce, "cosine": cosine}
