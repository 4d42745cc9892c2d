"""The last look at a lowered graph: chains of RESHAPE become one, those that change nothing go, and what nobody reads."""

from __future__ import annotations

from collections import Counter

from bessemer.targets.tflite.builder import Op, Subgraph

LASTING = frozenset({"WHILE", "IF", "UNIDIRECTIONAL_SEQUENCE_LSTM"})
"""Operators that hold subgraphs or a state."""


def join_reshapes(sub: Subgraph) -> dict[int, int]:
    """Rewrite `sub` in place; for each tensor that is no longer computed the one that holds its elements in its shape,
    -1 where none does."""
    makers = {out: op for op in sub.ops for out in op.outputs}
    gone: dict[int, int] = {}
    for op in sub.ops:
        op.inputs = [gone.get(index, index) for index in op.inputs]
        if op.code != "RESHAPE":
            continue
        op.inputs[0] = _start(op.inputs[0], makers)
        if _same(sub, op):
            gone[op.outputs[0]] = op.inputs[0]
    sub.ops = [op for op in sub.ops if op.code != "RESHAPE" or op.outputs[0] not in gone]
    gone.update(dict.fromkeys(_unread(sub), -1))
    return gone


def _start(index: int, makers: dict[int, Op]) -> int:
    """What a chain of RESHAPE begins with."""
    while index in makers and makers[index].code == "RESHAPE":
        index = makers[index].inputs[0]
    return index


def _same(sub: Subgraph, op: Op) -> bool:
    """Whether a RESHAPE changes nothing: equal shapes, in which one size at most is unknown."""
    source, result = (sub.tensors[index] for index in (op.inputs[0], op.outputs[0]))
    border = op.outputs[0] in sub.outputs
    equal = source.shape == result.shape and source.type == result.type and source.encoding == result.encoding
    return equal and not border and source.shape.count(None) <= 1


def _unread(sub: Subgraph) -> list[int]:
    """Take away operators of which nothing is read, from the end; what they made."""
    uses = Counter(index for op in sub.ops for index in op.inputs)
    uses.update(sub.outputs)
    kept, dropped = [], []
    for op in reversed(sub.ops):
        if op.code not in LASTING and not any(uses[index] for index in op.outputs):
            uses.subtract(op.inputs)
            dropped += op.outputs
        else:
            kept.append(op)
    sub.ops = kept[::-1]
    return dropped
