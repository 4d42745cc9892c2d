"""Figures of one artifact against the float model's results."""

from __future__ import annotations

from typing import Any

import numpy as np
from tasks.data import Task

Array = np.ndarray[Any, Any]


def score(task: Task, got: list[Array], want: list[Array], labels: Any) -> dict[str, float]:
    """By the task's metric; `got` and `want` hold one output per sample."""
    found = {"snr": snr(got, want)}
    if task.metric == "classes":
        mine, float_ones = (np.array([item.argmax() for item in items]) for items in (got, want))
        found["agree"] = 100 * float((mine == float_ones).mean())
        found["top1"] = 100 * float((mine - task.offset == labels).mean())
    if task.metric == "speech":
        said, meant = (np.array([float(item.reshape(-1)[0]) > 0.5 for item in items]) for items in (got, want))
        found["agree"] = 100 * float((said == meant).mean())
    if task.metric == "boxes":
        from tasks.detection import average_precision

        found["ap"], found["ap50"] = average_precision(task.decode, got, labels)
    return found


def snr(got: list[Array], want: list[Array]) -> float:
    """Signal over noise in dB, over all samples."""
    signal = sum(float((item.astype(np.float64) ** 2).sum()) for item in want)
    noise = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(got, want, strict=True))
    return 10 * float(np.log10(signal / max(noise, signal * 1e-14)))
