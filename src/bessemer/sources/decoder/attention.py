"""Attention of a causal decoder as nodes: what is seen, and the products over heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.decoder import Decoder
from bessemer.runners.decoder.attention import UNSEEN
from bessemer.runners.decoder.border import key_sizes
from bessemer.runners.decoder.tables import slopes
from bessemer.sources.drawing import Drawing

if TYPE_CHECKING:
    import onnx_ir


class Attention:
    """Draws attention layer by layer. present: keys and values of all tokens, in the order of the layers.

    The mask is added: 0 for what is seen, a very low number for the rest, as transformers computes it eagerly. It says what
    is causal, too, so that rows of padding see what they see there.
    """

    def __init__(self, decoder: Decoder, drawing: Drawing, inputs: Mapping[str, onnx_ir.Value]) -> None:
        self._decoder, self._drawing, self._inputs = decoder, drawing, inputs
        self._masks: dict[int | None, onnx_ir.Value] = {}
        self._behind: onnx_ir.Value | None = None
        self.present: list[onnx_ir.Value] = []

    def attended(self, query: onnx_ir.Value, key: onnx_ir.Value, value: onnx_ir.Value, layer: int) -> onnx_ir.Value:
        """One layer; see `runners.decoder.wiring.Operations`."""
        where = self._drawing.layer
        mask = self._mask(self._decoder.layers[layer].window)
        self._drawing.layer = where
        if self._decoder.softcap:  # the standard's operator would cap the mask as well
            return self._spelled(query, key, value, mask, layer)
        keeps = self._keeps and self._decoder.latent is None
        past = [self._inputs[f"past_key_values.{layer}.{part}"] for part in ("key", "value")] if keeps else []
        made = self._drawing.emit(
            "Attention", [query, key, value, mask, *past], outputs=3 if keeps else 1, q_num_heads=self._decoder.heads,
            kv_num_heads=key_sizes(self._decoder)[0], scale=self._decoder.scale,
        )  # fmt: skip
        if not keeps:
            return made  # type: ignore[no-any-return]  # one output is a value, several are a list
        self.present += made[1:]
        return made[0]  # type: ignore[no-any-return]

    def kept(self, key: onnx_ir.Value, value: onnx_ir.Value, layer: int) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """One head each, [batch, all tokens, columns]; see `runners.decoder.wiring.Operations`."""
        first, second = (self._appended(item, layer, part) for item, part in ((key, "key"), (value, "value")))
        return first, second

    def _appended(self, new: onnx_ir.Value, layer: int, part: str) -> onnx_ir.Value:
        past = self._past(layer, part)
        if past is None:
            return new
        emit, axis = self._drawing.emit, self._drawing.literal(np.array([1], np.int64))
        whole = emit("Concat", [past, emit("Unsqueeze", [new, axis])], axis=2)
        self.present.append(whole)
        return emit("Squeeze", [whole, axis])  # type: ignore[no-any-return]

    @property
    def _keeps(self) -> bool:
        return any(name.startswith("past_key_values.") for name in self._inputs)

    def _past(self, layer: int, part: str) -> onnx_ir.Value | None:
        return self._inputs.get(f"past_key_values.{layer}.{part}")

    def _spelled(
        self, query: onnx_ir.Value, key: onnx_ir.Value, value: onnx_ir.Value, mask: onnx_ir.Value, layer: int
    ) -> onnx_ir.Value:
        """Products and a softmax; queries of one key's head stand on an axis of their own, so that no key is copied."""
        held, emit = self._decoder, self._drawing.emit
        kept, width, depth = key_sizes(held)
        share = held.heads // kept
        queries = emit("Transpose", [self._shaped(query, [0, 0, kept, share, width])], perm=[0, 2, 3, 1, 4])
        keys, values = self._joined(key, kept, width, layer, "key"), self._joined(value, kept, depth, layer, "value")
        self.present += [keys, values] if self._keeps else []
        across = emit("Transpose", [self._shaped(keys, [0, kept, 1, -1, width])], perm=[0, 1, 2, 4, 3])
        scores = emit("Mul", [emit("MatMul", [queries, across]), self._number(held.scale)])
        cap = self._number(held.softcap)
        scores = emit("Mul", [emit("Tanh", [emit("Div", [scores, cap])]), cap])
        wide = emit("Unsqueeze", [mask, self._drawing.literal(np.array([1], np.int64))])
        shares = emit("Softmax", [emit("Add", [scores, wide])], axis=-1)
        answers = emit("MatMul", [shares, self._shaped(values, [0, kept, 1, -1, depth])])
        return self._shaped(emit("Transpose", [answers], perm=[0, 3, 1, 2, 4]), [0, 0, held.heads * depth])

    def _joined(self, new: onnx_ir.Value, heads: int, width: int, layer: int, part: str) -> onnx_ir.Value:
        """[batch, heads, all tokens, columns]."""
        turned = self._drawing.emit("Transpose", [self._shaped(new, [0, 0, heads, width])], perm=[0, 2, 1, 3])
        past = self._past(layer, part)
        return turned if past is None else self._drawing.emit("Concat", [past, turned], axis=2)  # type: ignore[no-any-return]

    def _mask(self, window: int | None) -> onnx_ir.Value:
        """[batch, 1 or heads, tokens, all tokens], drawn once for all layers with the window."""
        if window in self._masks:
            return self._masks[window]
        self._drawing.layer = "mask"
        emit, literal = self._drawing.emit, self._drawing.literal
        behind, kind = self._places_behind(), _boolean()
        seen = emit("GreaterOrEqual", [behind, literal(np.array(0, np.int64))], dtype=kind)
        if window is not None:
            near = emit("Less", [behind, literal(np.array(window, np.int64))], dtype=kind)
            seen = emit("And", [seen, near])
        kept = emit("Cast", [self._inputs["attention_mask"]], to=int(kind), dtype=kind)
        seen = emit("And", [seen, emit("Unsqueeze", [kept, literal(np.array([1, 2], np.int64))])])
        mask = emit("Where", [seen, self._number(0.0), self._number(UNSEEN)], dtype=_float())
        if self._decoder.positions == "alibi":
            mask = emit("Add", [mask, self._alibi(behind)])
        self._masks[window] = mask
        return mask  # type: ignore[no-any-return]

    def _places_behind(self) -> onnx_ir.Value:
        """How many places a key is behind a query, [tokens, all tokens]."""
        if self._behind is None:
            emit, literal = self._drawing.emit, self._drawing.literal
            one, zero = (literal(np.array(number, np.int64)) for number in (1, 0))
            new, whole = (self._length(name) for name in ("input_ids", "attention_mask"))
            rows = emit("Range", [emit("Sub", [whole, new]), whole, one])
            columns = emit("Range", [zero, whole, one])
            self._behind = emit("Sub", [emit("Unsqueeze", [rows, literal(np.array([1], np.int64))]), columns])
        return self._behind

    def _length(self, name: str) -> onnx_ir.Value:
        """Size of an input's second axis, a number."""
        shape = self._drawing.emit("Shape", [self._inputs[name]], dtype=_integer(), start=1, end=2)
        made: onnx_ir.Value = self._drawing.emit("Squeeze", [shape])
        return made

    def _alibi(self, behind: onnx_ir.Value) -> onnx_ir.Value:
        emit = self._drawing.emit
        held = slopes(self._decoder.heads, self._decoder.alibi_bias)
        column = self._drawing.literal(-held.reshape(1, -1, 1, 1), "slopes")
        made: onnx_ir.Value = emit("Mul", [emit("Cast", [behind], to=int(_float()), dtype=_float()), column])
        return made

    def _shaped(self, value: onnx_ir.Value, shape: list[int]) -> onnx_ir.Value:
        made: onnx_ir.Value = self._drawing.emit("Reshape", [value, self._drawing.literal(np.array(shape, np.int64))])
        return made

    def _number(self, number: float) -> onnx_ir.Value:
        return self._drawing.literal(np.float32(number))


def _float() -> Any:
    import onnx_ir

    return onnx_ir.DataType.FLOAT


def _boolean() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


def _integer() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64
