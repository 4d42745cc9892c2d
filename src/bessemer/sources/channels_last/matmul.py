"""Matrix products."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bessemer.ir.types import Shape
from bessemer.sources.channels_last import dims
from bessemer.sources.channels_last.dims import Dim
from bessemer.sources.channels_last.elementwise import bias_add
from bessemer.sources.channels_last.shaping import broadcast_to, expand_dims, transpose
from bessemer.sources.drawing import Canvas, Ordered, Unsupported


def matmul(
    canvas: Canvas, first: Ordered, second: Ordered, *, transpose_first: bool = False, transpose_second: bool = False,
    name: str = "",
) -> Ordered:  # fmt: skip
    """Products of the last two axes, leading ones broadcast; either operand may stand transposed, or be a vector."""
    left = swapped(canvas, first) if transpose_first else first
    right = swapped(canvas, second) if transpose_second else second
    a: Shape = left.shape if left.rank > 1 else (1, *left.shape)
    b: Shape = right.shape if right.rank > 1 else (*right.shape, 1)
    inner = a[-1], b[-2]
    if all(isinstance(dim, int) for dim in inner) and inner[0] != inner[1]:
        raise Unsupported("matmul", f"rows of {inner[0]} meet columns of {inner[1]}")
    made = canvas.emit("MatMul", [canvas.at(left), canvas.at(right)])
    ends = (*a[-2:-1][: left.rank - 1], *b[-1:][: right.rank - 1])
    return canvas.result(made, (*dims.broadcast(a[:-2], b[:-2]), *ends), name=name)


def swapped(canvas: Canvas, tensor: Ordered) -> Ordered:
    """The last two axes change places."""
    rank = tensor.rank
    return transpose(canvas, tensor, (*range(rank - 2), rank - 1, rank - 2))


def dense(
    canvas: Canvas, tensor: Ordered, weights: Ordered, bias: Ordered | None = None, *, name: str = ""
) -> Ordered:
    """x W + b over the last axis; weights [depth, units]."""
    made = matmul(canvas, tensor, weights, name="" if bias is not None else name)
    return made if bias is None else bias_add(canvas, made, bias, name=name)


def einsum(canvas: Canvas, equation: str, tensors: Sequence[Ordered], *, name: str = "") -> Ordered:
    """Einstein's sum; spaces do not count, an ellipsis stands for leading axes that broadcast."""
    text = equation.replace(" ", "")
    terms, shape = _einsum_shape(text, [tensor.shape for tensor in tensors])
    if "..." in text:
        tensors = _same_ellipsis(canvas, text.partition("->")[0].split(","), tensors)
    made = canvas.emit("Einsum", [canvas.at(tensor) for tensor in tensors], equation=terms)
    return canvas.result(made, shape, name=name)


def _same_ellipsis(canvas: Canvas, terms: Sequence[str], tensors: Sequence[Ordered]) -> list[Ordered]:
    """Operands whose ellipses stand for the same axes: ONNX broadcasts none of them."""
    spans = []
    for term, tensor in zip(terms, tensors, strict=True):
        start, letters = term.find("..."), len(term.replace(".", ""))
        spans.append((start, tensor.rank - letters) if start >= 0 else None)
    found = [tensor.shape[span[0] : sum(span)] for span, tensor in zip(spans, tensors, strict=True) if span]
    wide = dims.broadcast(*found)
    if all(shape == wide for shape in found):
        return list(tensors)
    result = []
    for span, tensor in zip(spans, tensors, strict=True):
        if span is None:
            result.append(tensor)
            continue
        start, count = span
        raised = expand_dims(canvas, tensor, range(start, start + len(wide) - count)) if count < len(wide) else tensor
        shape = (*tensor.shape[:start], *wide, *tensor.shape[start + count :])
        result.append(broadcast_to(canvas, raised, shape))
    return result


def _einsum_shape(text: str, shapes: Sequence[Shape]) -> tuple[str, Shape]:
    """The equation with its result written out, and the result's shape."""
    left, _, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise Unsupported("einsum", f"'{text}' names {len(terms)} operands of {len(shapes)}")
    sizes: dict[str, Dim] = {}
    wide: Shape = ()
    for term, shape in zip(terms, shapes, strict=True):
        letters = re.findall(r"\.\.\.|[A-Za-z]", term)
        spare = len(shape) - len(letters) + ("..." in letters)
        if spare < 0 or ("..." not in letters and spare):
            raise Unsupported("einsum", f"'{term}' does not fit an operand of {len(shape)} axes")
        axis = 0
        for letter in letters:
            if letter == "...":
                wide = dims.broadcast(wide, shape[axis : axis + spare])
                axis += spare
            else:
                sizes[letter] = dims.broadcast_dim(sizes.get(letter, 1), shape[axis])
                axis += 1
    if "->" not in text:
        every = "".join(terms).replace(".", "")
        right = ("..." if "..." in left else "") + "".join(c for c in sorted(set(every)) if every.count(c) == 1)
    result: list[Dim] = []
    for letter in re.findall(r"\.\.\.|[A-Za-z]", right):
        result += wide if letter == "..." else [sizes[letter]]
    return f"{left}->{right}", tuple(result)
