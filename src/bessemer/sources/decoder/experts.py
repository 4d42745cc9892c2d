"""A mixture of experts as nodes: each expert computes the tokens that were sent to it, and none that were not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bessemer.ir.checkpoint import Lazy
from bessemer.ir.decoder import Activation, Decoder, Experts
from bessemer.sources.decoder import weights
from bessemer.sources.drawing import Drawing

if TYPE_CHECKING:
    import onnx_ir


class Dense(Protocol):
    """What an expert is made of beside its products."""

    def linear(self, x: onnx_ir.Value, role: str) -> onnx_ir.Value:
        """See `runners.decoder.wiring.Operations`."""
        ...

    def activated(self, x: onnx_ir.Value, kind: Activation) -> onnx_ir.Value:
        """See `runners.decoder.wiring.Operations`."""
        ...


class Mixture:
    """Draws one layer's experts."""

    def __init__(self, decoder: Decoder, drawing: Drawing, roles: Mapping[str, Lazy]) -> None:
        self._decoder, self._drawing, self._roles = decoder, drawing, roles

    def mixed(self, x: onnx_ir.Value, at: str, how: Experts, dense: Dense) -> onnx_ir.Value:
        """[batch, tokens, hidden] -> the same; semantics: `runners.decoder.experts.routed`."""
        emit = self._drawing.emit
        flat = emit("Reshape", [x, self._vector(-1, self._decoder.hidden)])
        chosen, shares = self._routed(dense.linear(flat, f"{at}ffn_gate_inp"), at, how)
        made = emit("Mul", [flat, self._drawing.literal(np.float32(0))])
        for expert in range(how.count):
            made = self._sent(flat, made, chosen, shares, f"{at}{{}}#{expert}", dense)
        return emit("Reshape", [made, emit("Shape", [x], dtype=_integer())])  # type: ignore[no-any-return]

    def _sent(
        self, x: onnx_ir.Value, made: onnx_ir.Value, chosen: onnx_ir.Value, shares: onnx_ir.Value, at: str, dense: Dense
    ) -> onnx_ir.Value:
        """`made` plus what one expert answers for its tokens, [tokens, hidden]; none is sent to it twice, so the sums can be
        put back. at: 'blk.3.{}#expert'."""
        emit, expert = self._drawing.emit, int(at.partition("#")[2])
        mine = emit("Equal", [chosen, self._drawing.literal(np.array(expert, np.int64))], dtype=_boolean())
        places = emit("Transpose", [emit("NonZero", [mine], dtype=_integer())], perm=[1, 0])
        rows = emit("Slice", [places, *(self._vector(number) for number in (0, 1, 1))])
        answer = self._answer(emit("GatherND", [x, rows]), at, dense)
        share = emit("Unsqueeze", [emit("GatherND", [shares, places]), self._vector(1)])
        sums = emit("Add", [emit("GatherND", [made, rows]), emit("Mul", [answer, share])])
        return emit("ScatterND", [made, rows, sums])  # type: ignore[no-any-return]

    def _answer(self, x: onnx_ir.Value, at: str, dense: Dense) -> onnx_ir.Value:
        up = self._product(x, at.format("ffn_up_exps"))
        if self._decoder.gated:
            gate = dense.activated(self._product(x, at.format("ffn_gate_exps")), self._decoder.activation)
            up = self._drawing.emit("Mul", [gate, up])
        else:
            up = dense.activated(up, self._decoder.activation)
        return self._product(up, at.format("ffn_down_exps"))

    def _product(self, x: onnx_ir.Value, name: str) -> onnx_ir.Value:
        role, _, number = name.partition("#")
        expert = int(number)
        matrix = self._drawing.hold(weights.turned(self._roles[f"{role}.weight"], expert), f"{role}.{expert}.weight")
        made: onnx_ir.Value = self._drawing.emit("MatMul", [x, matrix])
        bias = self._roles.get(f"{role}.bias")
        if bias is None:
            return made
        row = self._drawing.literal(weights.entry(bias, expert), f"{role}.{expert}.bias")
        return self._drawing.emit("Add", [made, row])  # type: ignore[no-any-return]

    def _routed(self, logits: onnx_ir.Value, at: str, how: Experts) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """Experts and their weights, [tokens, used] both."""
        emit = self._drawing.emit
        scores = logits
        if not how.softmax_after:
            scores = emit("Sigmoid", [logits]) if how.sigmoid else emit("Softmax", [logits], axis=-1)
        ranks, bias = scores, self._roles.get(f"{at}exp_probs_b.bias")
        if bias is not None:
            ranks = emit("Add", [scores, self._drawing.hold(weights.table(bias), f"{at}exp_probs_b.bias")])
        if how.groups > 1:
            ranks = self._in_best_groups(ranks, how, pairs=bias is not None)
        chosen = self._best(ranks, how.used)[1]
        shares = emit("GatherElements", [scores, chosen], axis=1)
        if how.softmax_after:
            shares = emit("Softmax", [shares], axis=-1)
        elif how.normalized:
            whole = emit("ReduceSum", [shares, self._vector(-1)], keepdims=1)
            shares = emit("Div", [shares, emit("Add", [whole, self._drawing.literal(np.float32(1e-20))])])
        if how.scale != 1.0:
            shares = emit("Mul", [shares, self._drawing.literal(np.float32(how.scale))])
        return chosen, shares

    def _in_best_groups(self, ranks: onnx_ir.Value, how: Experts, *, pairs: bool) -> onnx_ir.Value:
        emit = self._drawing.emit
        grouped = emit("Reshape", [ranks, self._vector(-1, how.groups, how.count // how.groups)])
        best = emit("ReduceSum", [self._best(grouped, 2 if pairs else 1)[0], self._vector(-1)], keepdims=0)
        kept = self._best(best, how.groups_used)[1]
        none = emit("Add", [emit("Mul", [best, self._number(0)]), self._number(-np.inf)])
        zeros = emit("Mul", [emit("GatherElements", [best, kept], axis=1), self._number(0)])
        mask = emit("ScatterElements", [none, kept, zeros], axis=1)
        inside = emit("Add", [grouped, emit("Unsqueeze", [mask, self._vector(2)])])
        return emit("Reshape", [inside, self._vector(-1, how.count)])  # type: ignore[no-any-return]

    def _best(self, ranks: onnx_ir.Value, count: int) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """The largest along the last axis, and where they are."""
        values, places = self._drawing.emit("TopK", [ranks, self._vector(count)], axis=-1, outputs=2)
        places.dtype = _integer()
        return values, places

    def _vector(self, *numbers: int) -> onnx_ir.Value:
        return self._drawing.literal(np.array(numbers, np.int64))

    def _number(self, number: float) -> onnx_ir.Value:
        return self._drawing.literal(np.float32(number))


def _boolean() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


def _integer() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64
