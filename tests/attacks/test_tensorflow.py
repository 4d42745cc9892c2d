"""No bytes of a SavedModel, a GraphDef or a checkpoint make the reader raise anything but its errors, hang, or grow."""

from __future__ import annotations

import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.errors import BessemerError, UnreadableInput
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.sources.base import OpenOptions
from bessemer.wire.errors import WireError
from bessemer.wire.savedmodel.bundle import Bundle
from bessemer.wire.savedmodel.records import graph
from bessemer.wire.savedmodel.snappy import uncompressed
from bessemer.wire.savedmodel.table import MAGIC, crc32c, masked, table
from bessemer.wire.savedmodel.tensors import tensor

SPECIAL = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


def number(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def field(place: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return number(place << 3) + number(payload)
    return number(place << 3 | 2) + number(len(payload)) + payload


def node(name: str, op: str, *inputs: str, **attrs: bytes) -> bytes:
    made = field(1, name.encode()) + field(2, op.encode()) + b"".join(field(3, item.encode()) for item in inputs)
    return made + b"".join(field(5, field(1, key.encode()) + field(2, value)) for key, value in attrs.items())


FLOAT = field(6, 1)


def survives(path: Path, **options: object) -> str:
    """What is said against a file; '' where it is read after all."""
    started = time.process_time()
    said = ""
    try:
        model = open_model(path, OpenOptions(**options))  # type: ignore[arg-type]
        normalise(model, ConvertOptions())
    except BessemerError as error:
        said = str(error)
        assert said
    assert time.process_time() - started < 5
    return said


def written(folder: Path, data: bytes) -> Path:
    path = folder / "graph.pb"
    path.write_bytes(data)
    return path


def placeholder(name: str = "x") -> bytes:
    return field(1, node(name, "Placeholder", dtype=FLOAT, shape=field(7, field(2, field(1, 2)))))


# -- damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index"])
def test_a_real_saved_model_damaged(part: str, tmp_path: Path, real_asset: Callable[[str], Path]) -> None:
    whole = real_asset("mcu_models/mlperf_tiny/kws_ref_model")
    copy = tmp_path / "model"
    shutil.copytree(whole, copy)
    for path in copy.rglob("*"):
        path.chmod(0o755)
    target, dice = copy / part, random.Random(5)
    plain = (whole / part).read_bytes()
    for cut in range(0, len(plain), max(len(plain) // 24, 1)):
        target.write_bytes(plain[:cut])
        survives(copy)
    for _ in range(40):
        data = bytearray(plain)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.choice((*SPECIAL, dice.randrange(256)))
        target.write_bytes(data)
        survives(copy)


def test_a_real_graph_damaged(tmp_path: Path, real_asset: Callable[[str], Path]) -> None:
    plain, dice = real_asset("audio/kws_arm_tf1_pb/Basic_LSTM_S.pb").read_bytes(), random.Random(6)
    cases = [plain[:cut] for cut in range(0, len(plain), len(plain) // 24)]
    for _ in range(60):
        data = bytearray(plain)
        start = dice.choice((0, 0, len(data) // 2))
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(start, min(len(data), start + 20_000))] = dice.choice((*SPECIAL, dice.randrange(256)))
        cases.append(bytes(data))
    for data in cases:
        survives(written(tmp_path, data), inputs=("Mfcc",), shapes={"Mfcc": (1, 49, 10)})


# -- graphs ---------------------------------------------------------------------------------------------------------------


def test_a_graph_that_reads_itself(tmp_path: Path) -> None:
    data = placeholder() + field(1, node("a", "Add", "x", "b", T=FLOAT)) + field(1, node("b", "Relu", "a", T=FLOAT))
    data += field(1, node("c", "Relu", "b", T=FLOAT))
    assert "needs its own result" in survives(written(tmp_path, data))


def test_a_node_that_is_not_there(tmp_path: Path) -> None:
    data = placeholder() + field(1, node("a", "Add", "x", "nobody", T=FLOAT))
    assert "no node makes it" in survives(written(tmp_path, data))


def function(name: str, *nodes: bytes, returns: str) -> bytes:
    argument = field(1, b"x") + field(3, 1)
    signature = field(1, name.encode()) + field(2, argument) + field(3, field(1, b"y") + field(3, 1))
    made = field(1, signature) + b"".join(field(3, item) for item in nodes)
    return field(1, made + field(4, field(1, b"y") + field(2, returns.encode())))


def called(name: str) -> bytes:
    return field(10, field(1, name.encode()))


def test_functions_that_call_each_other(tmp_path: Path) -> None:
    library = function("f", node("c", "PartitionedCall", "x", f=called("g")), returns="c:output:0")
    library += function("g", node("c", "PartitionedCall", "x", f=called("f")), returns="c:output:0")
    data = placeholder() + field(1, node("y", "PartitionedCall", "x", f=called("f"))) + field(2, library)
    assert "more than 64 deep" in survives(written(tmp_path, data))


def test_functions_that_double_at_every_level(tmp_path: Path) -> None:
    library = function("f0", node("r", "Relu", "x", T=FLOAT), returns="r:activations:0")
    for level in range(1, 40):
        calls = [node("a", "PartitionedCall", "x", f=called(f"f{level - 1}")),
                 node("b", "PartitionedCall", "a:output:0", f=called(f"f{level - 1}"))]  # fmt: skip
        library += function(f"f{level}", *calls, returns="b:output:0")
    data = placeholder() + field(1, node("y", "PartitionedCall", "x", f=called("f39"))) + field(2, library)
    started = time.process_time()
    with pytest.raises(UnreadableInput, match="functions are inlined"):
        open_model(written(tmp_path, data), OpenOptions())
    assert time.process_time() - started < 20


def test_a_loop_that_never_ends(tmp_path: Path) -> None:
    number_ = field(8, field(1, 3) + field(2, b"") + field(7, b"\x00"))
    test = field(1, field(1, b"t") + field(2, field(1, b"i") + field(3, 3)) + field(3, field(1, b"o") + field(3, 10)))
    always = field(8, field(1, 10) + field(2, b"") + field(11, b"\x01"))
    test += field(3, node("k", "Const", value=always, dtype=field(6, 10)))
    test += field(4, field(1, b"o") + field(2, b"k:output:0"))
    body = field(1, field(1, b"b") + field(2, field(1, b"i") + field(3, 3)) + field(3, field(1, b"o") + field(3, 3)))
    body += field(3, node("s", "AddV2", "i", "i", T=field(6, 3))) + field(4, field(1, b"o") + field(2, b"s:z:0"))
    loop = node("w", "StatelessWhile", "zero", cond=called("t"), body=called("b"))
    data = placeholder() + field(1, node("zero", "Const", value=number_, dtype=field(6, 3))) + field(1, loop)
    data += field(1, node("y", "Cast", "w", SrcT=field(6, 3), DstT=FLOAT)) + field(1, node("z", "Mul", "y", "x", T=FLOAT))
    data += field(2, field(1, test) + field(1, body))
    assert "more than 20,000 rounds" in survives(written(tmp_path, data))


def test_a_constant_that_would_be_made_larger_than_memory(tmp_path: Path) -> None:
    dims = field(8, field(1, 3) + field(2, field(2, field(1, 2))) + field(4, struct.pack("<ii", 2**30, 2**30)))
    one = field(8, field(1, 1) + field(2, b"") + field(5, struct.pack("<f", 1)))
    data = placeholder() + field(1, node("d", "Const", value=dims, dtype=field(6, 3)))
    data += field(1, node("v", "Const", value=one, dtype=FLOAT)) + field(1, node("f", "Fill", "d", "v", T=FLOAT))
    data += field(1, node("y", "Add", "x", "f", T=FLOAT))
    survives(written(tmp_path, data))


# -- tensors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        field(1, 1) + field(2, field(2, field(1, 2**62)) * 2) + field(5, b"\0\0\0\0"),  # splat over 2**124
        field(1, 1) + field(2, field(2, field(1, 2**40))),  # nothing over a tebi
        field(1, 1) + field(2, field(2, field(1, 2**64 - 5))),  # a dim of -5
        field(1, 1) + field(2, field(2, field(1, 4))) + field(4, b"\0" * 15),  # content that is too short
        field(1, 1) + field(2, field(2, field(1, 1))) + field(5, b"\0" * 7),  # packed numbers cut off
        field(1, 99) + field(2, b""),  # no such type
        field(1, 20) + field(2, b""),  # a resource
        field(1, 1) + field(2, field(3, 1)),  # unknown rank
        field(1, 1) + field(2, field(2, field(1, 1)) * 300),  # 300 axes
        field(1, 3) + field(2, b"") + field(7, b"\x80" * 12),  # a number without an end
    ],
)
def test_hostile_tensors(data: bytes) -> None:
    with pytest.raises(WireError):
        tensor(data)


def test_messages_nested_for_ever_are_not_followed() -> None:
    deep = b""
    for _ in range(20_000):
        deep = field(10, field(1, b"f") + field(2, field(1, b"k") + field(2, deep[:60_000])))
    graph(field(1, node("x", "Placeholder", f=deep)))


# -- tables and bundles ----------------------------------------------------------------------------------------------------


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    made = b"".join(number(0) + number(len(k)) + number(len(v)) + k + v for k, v in entries)
    return made + struct.pack("<II", 0, 1)


def sealed(data: bytes, kind: int = 0) -> bytes:
    return data + bytes([kind]) + struct.pack("<I", masked(crc32c(data + bytes([kind]))))


def sorted_table(entries: list[tuple[bytes, bytes]]) -> bytes:
    data = sealed(block(entries))
    index = block([(b"z", number(0) + number(len(data) - 5))])
    handles = number(0) + number(0) + number(len(data)) + number(len(index))
    return data + sealed(index) + handles.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def entry(offset: int, size: int, shard: int = 0, dims: int = 4) -> bytes:
    return field(1, 1) + field(2, field(2, field(1, dims))) + field(3, shard) + field(4, offset) + field(5, size)


HEADER = field(1, 1)


@pytest.mark.parametrize(
    "held",
    [entry(2**40, 16), entry(0, 2**40), entry(0, 15), entry(0, 16, shard=7), entry(0, 16, dims=2**62), entry(8, 16)],
)  # fmt: skip
def test_bundles_that_point_outside(held: bytes, tmp_path: Path) -> None:
    (tmp_path / "v.index").write_bytes(sorted_table([(b"", HEADER), (b"k", held)]))
    (tmp_path / "v.data-00000-of-00001").write_bytes(bytes(16))
    bundle = Bundle(tmp_path / "v")
    with pytest.raises(WireError):
        bundle["k"]


def test_the_table_that_those_are_made_from_is_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "v.index").write_bytes(sorted_table([(b"", HEADER), (b"k", entry(0, 16))]))
    (tmp_path / "v.data-00000-of-00001").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    assert Bundle(tmp_path / "v")["k"].tolist() == [0, 1, 2, 3]


def test_blocks_that_are_their_own_index() -> None:
    """An index whose entries all lead to one block would be read again and again."""
    data = sealed(block([(b"k", b"v" * 50)]))
    index = block([(bytes([i]), number(0) + number(len(data) - 5)) for i in range(200)])
    handles = number(0) + number(0) + number(len(data)) + number(len(index))
    whole = data + sealed(index) + handles.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    with pytest.raises(WireError, match="overlap"):
        list(table(whole))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xff\xff\xff\xff", number(2**31) + b"\0a", number(4) + b"\x01\x00", number(10) + b"\x00a\x15\x05",
        number(3) + b"\x08abcd", number(100) + b"\xf4\xff\xff", number(5) + b"\x00a", number(2) + b"\x00a\x05\x01",
    ],
)  # fmt: skip
def test_hostile_snappy(data: bytes) -> None:
    with pytest.raises(WireError):
        uncompressed(data)
