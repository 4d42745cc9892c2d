"""Hostile and broken ONNX files; see README.md for the classes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parent))
from hostile import cuts, flips, road, small_onnx

from bessemer.ir.errors import UnreadableInput


def written(folder: Path, model: onnx.ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def refused(folder: Path, model: onnx.ModelProto | bytes, *words: str) -> None:
    error = road(written(folder, model))
    assert isinstance(error, UnreadableInput), error
    assert all(word in str(error) for word in words), str(error)


def test_the_healthy_model_passes(tmp_path: Path) -> None:
    assert road(written(tmp_path, small_onnx())) is None


def test_truncated_at_every_64th(tmp_path: Path) -> None:
    data = small_onnx().SerializeToString()
    errors = [road(written(tmp_path, cut)) for cut in cuts(data)]
    assert all(isinstance(error, UnreadableInput) for error in errors)


def test_flipped_bytes(tmp_path: Path) -> None:
    data = small_onnx().SerializeToString()
    for flipped in flips(data[:600] + data[-300:], 150):
        road(written(tmp_path, flipped))
    for flipped in flips(data, 50, seed=1):
        road(written(tmp_path, flipped))


def test_absurd_dims(tmp_path: Path) -> None:
    for dims in ([1 << 40, 1 << 40], [-5], [1] * 100, [2**62]):
        model = small_onnx()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        refused(tmp_path, model, "tensor 'w'", "dims")


def test_cycle(tmp_path: Path) -> None:
    model = small_onnx()
    model.graph.node[0].input[0] = "r"
    refused(tmp_path, model, "cycle")


def test_duplicate_names(tmp_path: Path) -> None:
    model = small_onnx()
    model.graph.node[1].output[0] = "c"
    refused(tmp_path, model, "'c' is defined twice", "node 1 (Relu)")
    twice = small_onnx()
    twice.graph.initializer.append(twice.graph.initializer[0])
    refused(tmp_path, twice, "two initializers")


def test_undefined_input_and_output(tmp_path: Path) -> None:
    model = small_onnx()
    model.graph.node[2].input[0] = "nobody"
    refused(tmp_path, model, "'nobody' is never made")
    model = small_onnx()
    model.graph.output[0].name = "nothing"
    refused(tmp_path, model, "'nothing' is never made")


def test_function_that_calls_itself(tmp_path: Path) -> None:
    model = small_onnx()
    body = [helper.make_node("f", ["a"], ["b"], domain="own")]
    function = helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("own", 1)])
    model.functions.append(function)
    refused(tmp_path, model, "function 'f'", "calls itself")


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = len(payload), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


@pytest.mark.parametrize("depth", [20, 90, 3000])
def test_deep_subgraphs(tmp_path: Path, depth: int) -> None:
    """Graph -> node (1) -> attribute (5) -> graph (6), written by hand: the library refuses to build it."""
    graph = b""
    for _ in range(depth):
        graph = field(
            1, field(1, b"c") + field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph))
        )
    assert road(written(tmp_path, b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11"))) is not None


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "", "x\0y"])
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 10_000)
    folder = tmp_path / "inside"
    folder.mkdir()
    refused(folder, external(location), "tensor 'w'", "outside the model's folder")


def external(location: str, offset: int = 0, length: int = 432) -> onnx.ModelProto:
    model = small_onnx()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return model


def test_external_data_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 10_000)
    folder = tmp_path / "inside"
    folder.mkdir()
    os.symlink(tmp_path / "secret", folder / "w.bin")
    refused(folder, external("w.bin"), "link")


def test_external_data_past_the_end(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x" * 432)
    for offset, length in ((8, 432), (-4, 432), (0, 1 << 60)):
        refused(tmp_path, external("w.bin", offset, length), "tensor 'w'", "outside w.bin")
    refused(tmp_path, external("absent.bin"), "absent.bin")


def test_nan_and_inf_weights_are_no_attack(tmp_path: Path) -> None:
    model = small_onnx()
    bad = np.full((4, 3, 3, 3), np.nan, np.float32)
    bad[0] = np.inf
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(bad, "w"))
    assert road(written(tmp_path, model)) is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (b"GGUF" + b"\0" * 99, "GGUF"),
        (b"PK\x03\x04broken", "broken zip"),
        (b"hello world\n", "text"),
    ],
)
def test_wrong_kinds_are_named(tmp_path: Path, data: bytes, name: str) -> None:
    refused(tmp_path, data, name)
