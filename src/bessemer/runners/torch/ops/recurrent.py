"""RNN, GRU and LSTM, step by step as the standard writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as nn

from bessemer.runners.torch.registry import Call, Tensor, Unsupported, op

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "softsign": nn.softsign, "softplus": nn.softplus,
}  # fmt: skip


def _activations(call: Call, defaults: list[str], directions: int) -> list[list[Callable[[Tensor], Tensor]]]:
    attribute = call.node.attributes.get("activations")
    names = [str(name).lower() for name in attribute.as_strings()] if attribute else defaults * directions
    unknown = [name for name in names if name not in ACTIVATIONS]
    if unknown or call.has("activation_alpha") or call.has("activation_beta"):
        raise Unsupported(f"the activations {', '.join(names)} with parameters")
    size = len(defaults)
    return [[ACTIVATIONS[name] for name in names[at * size : (at + 1) * size]] for at in range(directions)]


class _Layer:
    """What the three cells share: layout, directions, lengths, initial states."""

    def __init__(self, call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor, lengths: Tensor) -> None:
        self.call, self.batch_first = call, call.integer("layout") == 1
        self.x = x.transpose(0, 1) if self.batch_first else x
        self.w, self.r = w, r
        self.hidden = r.shape[2]
        gates = w.shape[1]
        self.b = torch.zeros(w.shape[0], 2 * gates, dtype=x.dtype) if b is None else b
        self.lengths = lengths
        if call.has("clip"):
            raise Unsupported("clipping of cells")

    def start(self, state: Tensor, direction: int) -> Tensor:
        if state is None:
            return torch.zeros(self.x.shape[1], self.hidden, dtype=self.x.dtype)
        return state[:, direction] if self.batch_first else state[direction]

    def backwards(self, direction: int) -> bool:
        return direction == 1 or self.call.string("direction", "forward") == "reverse"

    def steps(self, direction: int) -> list[int]:
        order = list(range(self.x.shape[0]))
        return order[::-1] if self.backwards(direction) else order

    def running(self, step: int) -> Tensor:
        """Which batch entries are not over: (batch, 1); None when lengths are not given."""
        return None if self.lengths is None else (step < self.lengths)[:, None]

    def results(self, rows: list[list[Tensor]], finals: list[list[Tensor]]) -> Any:
        """Y over (time, direction), and the final states."""
        y = torch.stack([torch.stack(items) for items in rows], 1)
        ends = [torch.stack(items) for items in finals]
        if self.batch_first:
            return (y.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in ends))
        return (y, *ends)


def _kept(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return new if mask is None else torch.where(mask, new, old)


def _shown(mask: Tensor, new: Tensor) -> Tensor:
    return new if mask is None else torch.where(mask, new, torch.zeros_like(new))


def _scan(layer: _Layer, direction: int, state: Any, cell: Callable[[Tensor, Any], Any]) -> tuple[list[Tensor], Any]:
    """One direction: `cell` maps (input, states) to states, the first of which is shown."""
    rows: dict[int, Tensor] = {}
    for step in layer.steps(direction):
        mask, fresh = layer.running(step), cell(layer.x[step], state)
        rows[step] = _shown(mask, fresh[0])
        state = tuple(_kept(mask, new, old) for new, old in zip(fresh, state, strict=True))
    return [rows[step] for step in range(layer.x.shape[0])], state


@op("RNN")
def rnn(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor = None, lengths: Tensor = None, h: Tensor = None
) -> Any:
    layer = _Layer(call, x, w, r, b, lengths)
    kinds = _activations(call, ["tanh"], w.shape[0])
    rows, ends = [], []
    for d in range(w.shape[0]):
        wb, rb = layer.b[d].chunk(2)

        def cell(item: Tensor, state: Any, d: int = d, bias: Tensor = wb + rb) -> Any:
            return (kinds[d][0](item @ w[d].T + state[0] @ r[d].T + bias),)

        found, state = _scan(layer, d, (layer.start(h, d),), cell)
        rows.append(found)
        ends.append(state[0])
    return layer.results(rows, [ends])


@op("GRU")
def gru(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor = None, lengths: Tensor = None, h: Tensor = None
) -> Any:
    layer = _Layer(call, x, w, r, b, lengths)
    kinds, size = _activations(call, ["sigmoid", "tanh"], w.shape[0]), layer.hidden
    after = call.integer("linear_before_reset") == 1
    rows, ends = [], []
    for d in range(w.shape[0]):
        wb, rb = layer.b[d].chunk(2)

        def cell(item: Tensor, state: Any, d: int = d, wb: Tensor = wb, rb: Tensor = rb) -> Any:
            gate, squash = kinds[d]
            given, before = item @ w[d].T + wb, state[0] @ r[d, : 2 * size].T + rb[: 2 * size]
            z = gate(given[:, :size] + before[:, :size])
            reset = gate(given[:, size : 2 * size] + before[:, size:])
            weight, bias = r[d, 2 * size :].T, rb[2 * size :]
            inner = reset * (state[0] @ weight + bias) if after else (reset * state[0]) @ weight + bias
            return ((1 - z) * squash(given[:, 2 * size :] + inner) + z * state[0],)

        found, state = _scan(layer, d, (layer.start(h, d),), cell)
        rows.append(found)
        ends.append(state[0])
    return layer.results(rows, [ends])


@op("LSTM")
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor = None,
    lengths: Tensor = None,
    h: Tensor = None,
    c: Tensor = None,
    p: Tensor = None,
) -> Any:
    layer = _Layer(call, x, w, r, b, lengths)
    kinds = _activations(call, ["sigmoid", "tanh", "tanh"], w.shape[0])
    peep = torch.zeros(w.shape[0], 3 * layer.hidden, dtype=x.dtype) if p is None else p
    if call.integer("input_forget"):
        raise Unsupported("coupled input and forget gates")
    rows, hs, cs = [], [], []
    for d in range(w.shape[0]):
        wb, rb = layer.b[d].chunk(2)

        def cell(item: Tensor, state: Any, d: int = d, bias: Tensor = wb + rb) -> Any:
            gate, squash, show = kinds[d]
            i, o, f, new = (item @ w[d].T + state[0] @ r[d].T + bias).chunk(4, -1)
            pi, po, pf = peep[d].chunk(3)
            held = gate(f + pf * state[1]) * state[1] + gate(i + pi * state[1]) * squash(new)
            return gate(o + po * held) * show(held), held

        found, state = _scan(layer, d, (layer.start(h, d), layer.start(c, d)), cell)
        rows.append(found)
        hs.append(state[0])
        cs.append(state[1])
    return layer.results(rows, [hs, cs])
