"""Sequences, diagonals, segments: one operator each, against LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, both, same

pytest.importorskip("ai_edge_litert")
RNG = np.random.default_rng(5)


Operands = list[tuple[str, Any, str]]


def one(
    path: Path, name: str, operands: Operands, result: tuple[tuple[int, ...], str], **fields: Any
) -> None:
    """operands: (input or const, data, dtype)."""
    build = Builder()
    indices = [getattr(build, kind)(data, dtype) for kind, data, dtype in operands]
    out = build.tensor(*result)
    build.op(name, indices, [out], **fields)
    same(build.save([out], path / "m.tflite"), build.feeds)


@pytest.mark.parametrize(("batch", "time"), [(0, 1), (1, 0), (0, 2)])
def test_reverse_sequence(tmp_path: Path, batch: int, time: int) -> None:
    data = RNG.random((3, 4, 5))
    lengths = [2] * data.shape[batch]
    lengths[0] = 1
    one(
        tmp_path, "REVERSE_SEQUENCE", [("input", data, "float32"), ("input", lengths, "int64")],
        ((3, 4, 5), "float32"),
        table="ReverseSequenceOptions", seq_dim=time, batch_dim=batch,
    )  # fmt: skip


def test_matrix_diag(tmp_path: Path) -> None:
    operands: Operands = [("input", RNG.random((2, 3)), "float32")]
    one(tmp_path, "MATRIX_DIAG", operands, ((2, 3, 3), "float32"), table="MatrixDiagOptions")


def test_matrix_set_diag(tmp_path: Path) -> None:
    operands: Operands = [
        ("input", RNG.random((2, 3, 3)), "float32"),
        ("input", RNG.random((2, 3)), "float32"),
    ]
    one(tmp_path, "MATRIX_SET_DIAG", operands, ((2, 3, 3), "float32"), table="MatrixSetDiagOptions")


@pytest.mark.parametrize("kind", ["SUM", "PROD", "MAX", "MIN"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_unsorted_segment(tmp_path: Path, kind: str, dtype: str) -> None:
    data = RNG.integers(-5, 5, (4, 3))
    operands: Operands = [("input", data, dtype), ("const", [2, 0, 2, 0], "int32"), ("const", 4, "int32")]
    one(tmp_path, f"UNSORTED_SEGMENT_{kind}", operands, ((4, 3), dtype))


def test_bucketize(tmp_path: Path) -> None:
    one(
        tmp_path, "BUCKETIZE", [("input", [[-1.0, 0.0], [5.0, 10.0]], "float32")], ((2, 2), "int32"),
        table="BucketizeOptions", boundaries=(0.0, 2.5, 10.0),
    )  # fmt: skip


def test_broadcast_args(tmp_path: Path) -> None:
    operands: Operands = [("input", [2, 1, 3], "int32"), ("input", [4, 1], "int32")]
    one(tmp_path, "BROADCAST_ARGS", operands, ((3,), "int32"))


def test_sparse_to_dense(tmp_path: Path) -> None:
    operands: Operands = [("const", [[0, 1], [2, 0]], "int32"), ("const", [3, 2], "int32"),
                ("input", [1.5, 2.5], "float32"), ("const", -1.0, "float32")]  # fmt: skip
    one(tmp_path, "SPARSE_TO_DENSE", operands, ((3, 2), "float32"), table="SparseToDenseOptions")


def test_unique(tmp_path: Path) -> None:
    build = Builder()
    source = build.input([5, 2, 5, 7, 2], "int32")
    results = [build.tensor((1,), "int32"), build.tensor((5,), "int32")]
    build.op("UNIQUE", [source], results, table="UniqueOptions", idx_out_type=2)
    for expected, got in both(build.save(results, tmp_path / "m.tflite"), build.feeds):
        np.testing.assert_array_equal(got, expected)


def test_non_max_suppression(tmp_path: Path) -> None:
    build = Builder()
    corners = RNG.random((20, 2))
    boxes = build.input(np.concatenate([corners, corners + 0.3], axis=1))
    scores = build.input(RNG.random(20))
    rest = [build.const(6, "int32"), build.const(0.4), build.const(0.2)]
    results = [build.tensor((6,), "int32"), build.tensor((), "int32")]
    build.op("NON_MAX_SUPPRESSION_V4", [boxes, scores, *rest], results)
    (indices, mine), (count, my_count) = both(build.save(results, tmp_path / "m.tflite"), build.feeds)
    assert count == my_count
    np.testing.assert_array_equal(mine[:count], indices[:count])
