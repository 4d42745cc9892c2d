"""Subgraphs."""

from __future__ import annotations

from typing import Any

import torch

from bessemer.runners.torch.registry import Call, Tensor, op


@op("If")
def if_(call: Call, condition: Tensor) -> Any:
    return tuple(call.run(call.graph("then_branch" if bool(condition) else "else_branch"), ()))


@op("Loop")
def loop(call: Call, trips: Tensor = None, condition: Tensor = None, *state: Tensor) -> Any:
    body, carried = call.graph("body"), list(state)
    collected: list[list[Tensor]] = [[] for _ in range(len(body.outputs) - 1 - len(state))]
    going, count = True if condition is None else bool(condition), 0
    while going and (trips is None or count < int(trips)):
        results = call.run(body, (torch.tensor(count), torch.tensor(going), *carried))
        going, carried = bool(results[0]), results[1 : 1 + len(state)]
        for rows, item in zip(collected, results[1 + len(state) :], strict=True):
            rows.append(item)
        count += 1
    return (*carried, *(_stacked(rows, 0, False) for rows in collected))


def _stacked(rows: list[Tensor], axis: int, backwards: bool) -> Tensor:
    if not rows:
        return torch.zeros(0)
    return torch.stack(rows[::-1] if backwards else rows, axis)


@op("Scan")
def scan(call: Call, *given: Tensor) -> Any:
    body, count = call.graph("body"), call.integer("num_scan_inputs")
    state, items = list(given[: len(given) - count]), given[len(given) - count :]
    outputs = len(body.outputs) - len(state)
    axes = call.ints("scan_input_axes", [0] * count) or []
    backwards = call.ints("scan_input_directions", [0] * count) or []
    collected: list[list[Tensor]] = [[] for _ in range(outputs)]
    steps = items[0].shape[axes[0]]
    for step in range(steps):
        slices = [
            item.select(axis, steps - 1 - step if back else step)
            for item, axis, back in zip(items, axes, backwards, strict=True)
        ]
        results = call.run(body, (*state, *slices))
        state = results[: len(state)]
        for rows, row in zip(collected, results[len(state) :], strict=True):
            rows.append(row)
    out_axes = call.ints("scan_output_axes", [0] * outputs) or []
    out_back = call.ints("scan_output_directions", [0] * outputs) or []
    stacked = (_stacked(rows, a, bool(b)) for rows, a, b in zip(collected, out_axes, out_back, strict=True))
    return (*state, *stacked)
