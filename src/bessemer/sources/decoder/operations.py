"""The operations of `runners.decoder.wiring` as nodes: values are [batch, tokens, columns]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.canonical import FUSED_KEY
from bessemer.ir.checkpoint import Lazy
from bessemer.ir.decoder import Activation, Decoder, Experts, Rope
from bessemer.ir.encoding import set_weight, weight_of
from bessemer.runners.decoder.tables import frequencies
from bessemer.sources.decoder import blocks, weights
from bessemer.sources.decoder.attention import Attention
from bessemer.sources.decoder.experts import Mixture
from bessemer.sources.drawing import Drawing

if TYPE_CHECKING:
    import onnx_ir


class Drawn:
    """Nodes of one decoder, tagged with the role that asked for them.

    inputs: the graph's inputs by name; roles: weights; attention: draws scores, and keeps keys and values.
    """

    def __init__(
        self, decoder: Decoder, drawing: Drawing, inputs: Mapping[str, onnx_ir.Value], roles: Mapping[str, Lazy]
    ) -> None:
        self._decoder, self._drawing, self._inputs, self._roles = decoder, drawing, inputs, roles
        self._constants: dict[str, onnx_ir.Value] = {}
        self._turns: dict[Rope, tuple[onnx_ir.Value, onnx_ir.Value]] = {}
        self.attention = Attention(decoder, drawing, inputs)

    def has(self, role: str) -> bool:
        """See `Operations`."""
        return role in self._roles

    def tokens(self, role: str) -> onnx_ir.Value:
        """See `Operations`."""
        self._drawing.layer = role
        return self._emit("Gather", self._table(f"{role}.weight"), self._inputs["input_ids"])

    def places(self, role: str, offset: int) -> onnx_ir.Value:
        """See `Operations`."""
        places = self._inputs["position_ids"]
        if offset:
            places = self._emit("Add", places, self._literal(np.array(offset, np.int64)))
        return self._emit("Gather", self._table(f"{role}.weight"), places)

    def first_row(self, role: str) -> onnx_ir.Value:
        """See `Operations`."""
        return self._literal(weights.entry(self._roles[f"{role}.weight"], 0))

    def linear(self, x: onnx_ir.Value, role: str) -> onnx_ir.Value:
        """See `Operations`."""
        self._drawing.layer = role
        matrix = self._roles[f"{role}.weight"]
        tied = role == "token_embd"
        made = self._by_table(x, matrix) if tied else self._emit("MatMul", x, self._matrix(f"{role}.weight", matrix))
        return self._shifted(made, f"{role}.bias")

    def normalized(self, x: onnx_ir.Value, role: str, kind: str, heads: int = 1) -> onnx_ir.Value:
        """See `Operations`. Vectors of each head follow a normalisation without any."""
        self._drawing.layer = role
        weight, bias = self._roles.get(f"{role}.weight"), self._roles.get(f"{role}.bias")
        if weight is None and kind == "rms":
            raise KeyError(f"{role}.weight")
        own = x if heads == 1 else self._reshaped(x, [0, 0, heads, -1])
        apart = weight is None or len(weight.shape) > 1
        scale = self._ones(x, heads) if apart else self._scale(role)
        op = "RMSNormalization" if kind == "rms" else "LayerNormalization"
        operands = [scale] if kind == "rms" or bias is None or apart else [scale, self._vector(f"{role}.bias")]
        made = self._drawing.emit(op, [own, *operands], axis=-1, epsilon=self._decoder.eps)
        if apart and weight is not None:
            made = self._emit("Mul", made, self._scale(role))
        if bias is not None and len(operands) == 1:
            made = self._emit("Add", made, self._vector(f"{role}.bias"))
        return made if heads == 1 else self._reshaped(made, [0, 0, -1])

    def split(self, x: onnx_ir.Value, sizes: Sequence[int], heads: int = 1) -> list[onnx_ir.Value]:
        """See `Operations`."""
        own = x if heads == 1 else self._reshaped(x, [0, 0, heads, -1])
        parts = self._drawing.emit("Split", [own, self._literal(np.array(sizes, np.int64))], axis=-1, outputs=len(sizes))
        return list(parts) if heads == 1 else [self._reshaped(part, [0, 0, -1]) for part in parts]

    def halves(self, x: onnx_ir.Value) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """See `Operations`."""
        first, second = self._drawing.emit("Split", [x], axis=-1, num_outputs=2, outputs=2)
        return first, second

    def joined(self, parts: Sequence[onnx_ir.Value], heads: int) -> onnx_ir.Value:
        """See `Operations`."""
        apart = [self._reshaped(part, [0, 0, heads, -1]) for part in parts]
        return self._reshaped(self._drawing.emit("Concat", apart, axis=-1), [0, 0, -1])

    def spread(self, x: onnx_ir.Value, heads: int) -> onnx_ir.Value:
        """See `Operations`."""
        return self._emit("Tile", x, self._literal(np.array([1, 1, heads], np.int64)))

    def turned(self, x: onnx_ir.Value, rope: Rope, heads: int) -> onnx_ir.Value:
        """See `Operations`."""
        made: onnx_ir.Value = self._drawing.emit(
            "RotaryEmbedding", [x, *self._angles(rope)], interleaved=int(rope.interleaved), num_heads=heads,
            rotary_embedding_dim=rope.dims,
        )  # fmt: skip
        return made

    def attended(self, query: onnx_ir.Value, key: onnx_ir.Value, value: onnx_ir.Value, layer: int) -> onnx_ir.Value:
        """See `Operations`."""
        return self.attention.attended(query, key, value, layer)

    def kept(self, key: onnx_ir.Value, value: onnx_ir.Value, layer: int) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """See `Operations`."""
        return self.attention.kept(key, value, layer)

    def mixed(self, x: onnx_ir.Value, at: str, experts: Experts) -> onnx_ir.Value:
        """See `Operations`."""
        return Mixture(self._decoder, self._drawing, self._roles).mixed(x, at, experts, self)

    def activated(self, x: onnx_ir.Value, kind: Activation) -> onnx_ir.Value:
        """See `Operations`."""
        if kind in ("gelu", "gelu_tanh"):
            made: onnx_ir.Value = self._drawing.emit("Gelu", [x], approximate="tanh" if kind == "gelu_tanh" else "none")
            return made
        if kind == "relu2":
            positive = self._emit("Relu", x)
            return self._emit("Mul", positive, positive)
        made = self._emit({"silu": "Swish", "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[kind], x)
        return _older(made) if kind == "silu" else made

    def plus(self, a: onnx_ir.Value, b: onnx_ir.Value) -> onnx_ir.Value:
        """See `Operations`."""
        return self._emit("Add", a, b)

    def times(self, a: onnx_ir.Value, b: onnx_ir.Value) -> onnx_ir.Value:
        """See `Operations`."""
        return self._emit("Mul", a, b)

    def scaled(self, x: onnx_ir.Value, factor: float) -> onnx_ir.Value:
        """See `Operations`."""
        return x if factor == 1.0 else self._emit("Mul", x, self._literal(np.float32(factor)))

    def capped(self, x: onnx_ir.Value, limit: float) -> onnx_ir.Value:
        """See `Operations`."""
        if not limit:
            return x
        held = self._literal(np.float32(limit))
        return self._emit("Mul", self._emit("Tanh", self._emit("Div", x, held)), held)

    def clipped(self, x: onnx_ir.Value, limit: float) -> onnx_ir.Value:
        """See `Operations`."""
        if not limit:
            return x
        return self._emit("Clip", x, self._literal(np.float32(-limit)), self._literal(np.float32(limit)))

    def _angles(self, rope: Rope) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """Cosines and sines of the positions [batch, tokens, pairs]: drawn once for all layers, right for any length."""
        if rope not in self._turns:
            self._drawing.layer = "rope"
            places = self._drawing.emit("Cast", [self._inputs["position_ids"]], to=1, dtype=_float())
            column = self._emit("Unsqueeze", places, self._literal(np.array([-1], np.int64)))
            angles = self._emit("Mul", column, self._literal(frequencies(rope), "inv_freq"))
            cosines, sines = (self.scaled(self._emit(op, angles), rope.magnitude) for op in ("Cos", "Sin"))
            self._turns[rope] = cosines, sines
        return self._turns[rope]

    def _by_table(self, x: onnx_ir.Value, matrix: Lazy) -> onnx_ir.Value:
        """x table^T: the table is stored once for both of its uses."""
        flat = self._reshaped(x, [-1, matrix.columns])
        made = self._drawing.emit("Gemm", [flat, self._table("token_embd.weight")], transB=1)
        whole = self._drawing.emit("Shape", [x], dtype=_integer())
        sizes = self._emit("Slice", whole, *(self._literal(np.array([n], np.int64)) for n in (0, 2)))
        shape = self._drawing.emit("Concat", [sizes, self._literal(np.array([matrix.rows], np.int64))], axis=0)
        return self._emit("Reshape", made, shape)

    def _shifted(self, x: onnx_ir.Value, role: str) -> onnx_ir.Value:
        return self._emit("Add", x, self._vector(role)) if role in self._roles else x

    def _ones(self, x: onnx_ir.Value, heads: int) -> onnx_ir.Value:
        del x
        width = self._decoder.hidden if heads == 1 else self._decoder.head_dim
        return self._literal(np.ones(width, np.float32), "ones")

    def _scale(self, role: str) -> onnx_ir.Value:
        held, offset = self._roles[f"{role}.weight"], self._decoder.norm_offset
        tensor = weights.shifted(held, offset) if offset else weights.table(held)
        return self._held(f"{role}.weight", tensor)

    def _table(self, role: str) -> onnx_ir.Value:
        return self._held(role, weights.table(self._roles[role]))

    def _vector(self, role: str) -> onnx_ir.Value:
        return self._held(role, weights.table(self._roles[role]))

    def _matrix(self, role: str, matrix: Lazy) -> onnx_ir.Value:
        value = self._held(role, weights.turned(matrix))
        if matrix.type in blocks.CODES and weight_of(value) is None:
            set_weight(value, blocks.StoredBlocks(matrix))
        return value

    def _held(self, name: str, tensor: onnx_ir.TensorProtocol) -> onnx_ir.Value:
        """An initializer under the role's name; asked for twice, it is one."""
        if name not in self._constants:
            self._constants[name] = self._drawing.hold(tensor, name)
        return self._constants[name]

    def _reshaped(self, x: onnx_ir.Value, shape: list[int]) -> onnx_ir.Value:
        return self._emit("Reshape", x, self._literal(np.array(shape, np.int64)))

    def _literal(self, array: Any, name: str = "const") -> onnx_ir.Value:
        return self._drawing.literal(array, name)

    def _emit(self, op: str, *operands: onnx_ir.Value) -> onnx_ir.Value:
        made: onnx_ir.Value = self._drawing.emit(op, list(operands))
        return made


def _older(value: onnx_ir.Value) -> onnx_ir.Value:
    """Two plain nodes say it as well: a file need not be of opset 24 for it."""
    node = value.producer()
    if node is not None:
        node.meta[FUSED_KEY] = True
    return value


def _integer() -> Any:
    import onnx_ir

    return onnx_ir.DataType.INT64


def _float() -> Any:
    import onnx_ir

    return onnx_ir.DataType.FLOAT
