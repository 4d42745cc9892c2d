"""Samples that run beside each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tests.unit.quantize.nets import conv_net, images

from bessemer.ir.types import Array
from bessemer.runners.graph import GraphRunner


def test_each_answers_in_order_what_run_answers() -> None:
    samples = images(23)
    runner = GraphRunner(conv_net(0).graph, threads=1)
    alone = [runner.run(sample) for sample in samples]
    beside = list(runner.each(samples))
    assert len(beside) == 23
    for right, got in zip(alone, beside, strict=True):
        assert all(np.array_equal(right[name], got[name]) for name in right)


def test_each_reads_no_further_ahead_than_it_runs() -> None:
    read: list[int] = []

    def reading() -> Iterator[dict[str, Array]]:
        for place, sample in enumerate(images(64)):
            read.append(place)
            yield sample

    answers = GraphRunner(conv_net(0).graph, threads=1).each(reading())
    next(answers)
    assert len(read) == 1
    next(answers)
    assert len(read) < 64
