"""Tensors of big-endian GGUF files, brought into the order that everything else here expects.

Numbers of several bytes are turned around, in blocks those fields that ggml-common.h declares with 16 bits. Blocks whose
kernels read such fields as other numbers than they are declared (Q5_0, IQ2_XXS, ...) mean nothing certain there.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from bessemer.ir.checkpoint import Bytes
from bessemer.wire.gguf.types import BY_NAME

HALVES: dict[str, tuple[int, ...]] = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q8_0": (0,), "Q8_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2),
    "Q5_K": (0, 2), "Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,), "IQ4_NL": (0,), "IQ4_XS": (0, 2), "Q1_0": (0,),
    "Q2_0": (0,), "IQ2_XS": tuple(range(0, 66, 2)), "IQ2_S": (0,), "IQ3_S": (0,), "IQ1_S": (0, *range(34, 50, 2)),
    "MXFP4": (), "NVFP4": (),
}  # fmt: skip
"""Blocks -> where their fields of 16 bits begin."""


def known(kind: str) -> bool:
    """Whether tensors of this type can be turned around."""
    return BY_NAME[kind].plain or kind in HALVES


def turned(kind: str) -> partial[Bytes]:
    """What turns rows of this type around, in either direction."""
    return partial(_plain, BY_NAME[kind].bytes) if BY_NAME[kind].plain else partial(_blocks, kind)


def _plain(width: int, rows: Bytes) -> Bytes:
    return np.ascontiguousarray(rows.reshape(-1, width)[:, ::-1]).reshape(rows.shape)


def _blocks(kind: str, rows: Bytes) -> Bytes:
    blocks = rows.reshape(-1, BY_NAME[kind].bytes).copy()
    for place in HALVES[kind]:
        blocks[:, [place, place + 1]] = blocks[:, [place + 1, place]]
    return blocks.reshape(rows.shape)
