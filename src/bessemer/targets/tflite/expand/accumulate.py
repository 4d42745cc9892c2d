"""Rows that a loop writes one after the other, as a state of one size: WHILE has no results that grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.passes.expansion import Nodes

if TYPE_CHECKING:
    import onnx_ir as ir

Dim = int | str | None


class Rows:
    """(1, count, *row), zeros before the loop; the leading axis is TensorScatter's batch.

    count, row: INT64 vectors, of one number and of the row's sizes; dims: the row's sizes as far as they are known.
    """

    def __init__(
        self, nodes: Nodes, count: ir.Value, row: ir.Value, dims: tuple[Dim, ...], dtype: ir.DataType
    ) -> None:
        from bessemer.passes.rewrite import constant

        self.nodes, self.count, self.row, self.dtype = nodes, count, row, dtype
        known = constant(count)
        self.dims: tuple[Dim, ...] = (1, None if known is None else int(known.reshape(-1)[0]), *dims)

    def empty(self) -> ir.Value:
        """The state before the first step."""
        import onnx_ir as ir

        one = self.nodes.constant(np.array([1]), "one")
        shape = self.nodes("Concat", one, self.count, self.row, axis=0)
        zero = ir.tensor(np.zeros(1, self.dtype.numpy()))
        return self.nodes("ConstantOfShape", shape, value=zero)

    def write(self, inner: Nodes, rows: ir.Value, step: ir.Value, row: ir.Value) -> ir.Value:
        """The state with one more row, in the loop's body."""
        update = inner("Unsqueeze", row, inner.constant(np.array([0, 1]), "axes"))
        return inner("TensorScatter", rows, update, inner("Reshape", step, np.array([1])), axis=1)

    def whole(self, rows: ir.Value) -> ir.Value:
        """(count, *row) after the loop."""
        return self.nodes("Squeeze", rows, self.nodes.constant(np.array([0]), "axes"))
