"""No bytes make the TFLite reader raise anything but WireError, hang, or grow."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bessemer.wire.errors import WireError
from bessemer.wire.tflite import read, write
from bessemer.wire.tflite.records import (
    Buffer,
    Model,
    Operator,
    OperatorCode,
    Options,
    QuantizationParameters,
    SignatureDef,
    SubGraph,
    Tensor,
    TensorMap,
)


@pytest.fixture(scope="module")
def seed_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    tensors = [
        Tensor((1, 4), 0, 1, f"t{i}", QuantizationParameters(scale=(1.0,), zero_point=(0,))) for i in range(4)
    ]
    operator = Operator(0, (0, 1), (2,), builtin_options=Options("ReshapeOptions", {"new_shape": (4, 1)}))
    graph = SubGraph(tensors, (0,), (2,), [operator], "main")
    signature = SignatureDef([TensorMap("x", 0)], [TensorMap("y", 2)], "serve")
    model = Model(3, [OperatorCode(builtin_code=22)], [graph], "d", [Buffer(), Buffer(bytes(16))])
    model.signature_defs = [signature]
    path = tmp_path_factory.mktemp("tflite") / "seed.tflite"
    write(model, path)
    return path.read_bytes()


def survives(data: bytes) -> None:
    started = time.process_time()
    try:
        read(data)
    except WireError as error:
        assert str(error)
    assert time.process_time() - started < 5


def test_every_truncation(seed_file: bytes) -> None:
    for length in range(len(seed_file)):
        survives(seed_file[:length])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_flipped_bytes(seed_file: bytes, data: st.DataObject) -> None:
    raw = bytearray(seed_file)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(raw))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(tail: bytes) -> None:
    survives(tail)
    survives(b"\x10\0\0\0TFL3" + tail)


def shared(count: int) -> bytes:
    """`count` offsets of Model.subgraphs, all to one SubGraph whose tensors are the same trick again."""
    head = bytearray(b"\x18\0\0\0TFL3")
    head += struct.pack("<5H", 10, 8, 0, 0, 4) + bytes(6)  # Model's vtable at 8, table at 24
    head += struct.pack("<iI", 16, 4)
    head += struct.pack("<I", count)  # subgraphs at 32
    graph = len(head) + 4 * count + 8
    head += b"".join(struct.pack("<I", graph - (36 + 4 * i)) for i in range(count))
    head += struct.pack("<3H", 6, 8, 4) + bytes(2)  # SubGraph's vtable
    head += struct.pack("<iI", 8, 4)
    start = len(head) + 4
    tensor = start + 4 * count + 4
    head += struct.pack("<I", count)
    head += b"".join(struct.pack("<I", tensor - (start + 4 * i)) for i in range(count))
    head += struct.pack("<2H", 4, 4) + struct.pack("<i", 4)
    return bytes(head)


def test_shared_tables_cannot_multiply() -> None:
    raw = shared(200_000)
    tracemalloc.start()
    with pytest.raises(WireError, match=r"more tables|more data"):
        read(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6
    started = time.process_time()
    survives(raw)
    assert time.process_time() - started < 5


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(WireError, match="empty"):
        read(tmp_path / "empty.tflite")


def test_a_buffer_that_ends_inside_an_element_holds_the_whole_ones() -> None:
    from bessemer.sources.tflite.tensors import _whole

    assert _whole(memoryview(bytes(range(11))), np.dtype("<f4")).nbytes == 8
