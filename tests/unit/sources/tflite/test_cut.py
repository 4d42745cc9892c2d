"""Cut TFLite files: borders in the file's own order and integers, operators that were not read, LiteRT up to a cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, scaled

import bessemer as bm
from bessemer.ir.errors import Declined, UsageError
from bessemer.ir.unread import Unread
from bessemer.opening import open_model
from bessemer.sources.base import OpenOptions

pytest.importorskip("ai_edge_litert")

def convnet(path: Path, *, integers: bool = False, unknown: str = "", seed: int = 5) -> Path:
    """Two convolutions (t0_3, t0_6) over [1, 6, 5, 3] and a mean over height and width (t0_8); `unknown` reads t0_3, too."""
    build, rng = Builder(), np.random.default_rng(seed)
    kind = "int8" if integers else "float32"

    def said(scale: float, zero: int = 0) -> dict[str, object]:
        return {"quantization": scaled(scale, zero)} if integers else {}

    def weight(*shape: int) -> int:
        data = rng.integers(-90, 90, shape) if integers else rng.standard_normal(shape)
        return build.const(data, kind, **said(0.02))

    def bias(count: int, scale: float) -> int:
        data = rng.integers(-200, 200, count) if integers else rng.standard_normal(count)
        return build.const(data, "int32" if integers else "float32", **said(scale))

    fields = {"table": "Conv2DOptions", "padding": 0, "stride_w": 1, "stride_h": 1,
              "dilation_w_factor": 1, "dilation_h_factor": 1}  # fmt: skip
    image = rng.integers(-100, 100, (1, 6, 5, 3)) if integers else rng.standard_normal((1, 6, 5, 3))
    x = build.input(image, kind, **said(0.03, 4))
    first = [weight(4, 3, 3, 3), bias(4, 0.0006)]
    a = build.tensor((1, 6, 5, 4), kind, **said(0.15, -3))
    build.op("CONV_2D", [x, *first], [a], **fields)
    second = [weight(2, 1, 1, 4), bias(2, 0.003)]
    b = build.tensor((1, 6, 5, 2), kind, **said(0.3, 2))
    build.op("CONV_2D", [a, *second], [b], **fields)
    axes = build.const([1, 2], "int32")
    out = build.tensor((1, 2), kind, **said(0.3, 2))
    build.op("MEAN", [b, axes], [out], table="ReducerOptions", keep_dims=False)
    ends = [out]
    if unknown:
        ends.append(build.tensor((1, 6, 5, 4), kind, **said(0.15, -3)))
        build.op(unknown, [a], [ends[1]], custom=b"")
    return build.save(ends, path)


@pytest.mark.parametrize("integers", [False, True])
def test_borders_are_the_files_own_tensors(tmp_path: Path, integers: bool) -> None:
    path = convnet(tmp_path / "m.tflite", integers=integers)
    part = open_model(path, OpenOptions(inputs=("t0_3",), outputs=("t0_6",)))
    (x,), (y,) = part.signature.inputs, part.signature.outputs
    kind = "int8" if integers else "float32"
    assert (x.name, x.dtype, x.shape) == ("t0_3", kind, (1, 6, 5, 4))
    assert (y.name, y.dtype, y.shape) == ("t0_6", kind, (1, 6, 5, 2))


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize(
    "names", [{"inputs": "t0_3"}, {"outputs": "t0_6"}, {"inputs": "t0_3", "outputs": "t0_6"}, {"outputs": "t0_3,t0_6"}]
)
def test_every_part_is_verified_on_what_litert_computes_there(
    tmp_path: Path, integers: bool, names: dict[str, str]
) -> None:
    path = convnet(tmp_path / "m.tflite", integers=integers)
    cut = {key: value.split(",") for key, value in names.items()}
    evidence = bm.convert(path, ["tflite", "onnx"], tmp_path / "out", **cut)
    assert [row.verified for row in evidence.targets] == [True, True], [row.summary for row in evidence.targets]
    tflite, onnx = evidence.targets
    assert evidence.source.cut is not None
    assert evidence.source.cut.outputs == cut.get("outputs", ["t0_8"])
    assert evidence.source.cut.inside == cut.get("inputs", [])
    assert tflite.latency.keys() == {"artifact"}, "the whole original does more than the part"
    assert any("cut from" in note for note in onnx.notes)
    assert evidence.manifest.options.get("outputs", "") == (str(tuple(cut["outputs"])) if "outputs" in cut else "")


def test_a_wrong_part_fails(tmp_path: Path) -> None:
    """The tapped values are really compared: the part of another file does not pass."""
    path, other = convnet(tmp_path / "m.tflite"), convnet(tmp_path / "other.tflite", seed=6)
    bm.convert(other, "onnx", tmp_path / "out", outputs=["t0_3"])
    row = bm.verify(tmp_path / "out" / "other.onnx", path, outputs=["t0_3"])
    assert not row.verified
    assert bm.verify(tmp_path / "out" / "other.onnx", other, outputs=["t0_3"]).verified


@pytest.mark.parametrize("integers", [False, True])
def test_what_does_not_depend_on_an_unknown_operator_converts(tmp_path: Path, integers: bool) -> None:
    """LiteRT refuses the whole file: the original runs up to the cut."""
    path = convnet(tmp_path / "m.tflite", integers=integers, unknown="Wonder")
    with pytest.raises(Unread, match=r"Wonder.*no reading") as caught:
        bm.load(path)
    assert "`bessemer check MODEL --to TARGET`" in str(caught.value)
    evidence = bm.convert(path, "onnx", tmp_path / "out", outputs=["t0_8"])
    (row,) = evidence.targets
    assert row.verified, row.summary
    assert row.reference.endswith("up to the cut")
    with pytest.raises(Declined, match="Wonder"):
        open_model(path, OpenOptions(outputs=("t0_9",)))
    with pytest.raises(UsageError, match="Near to it"):
        open_model(path, OpenOptions(outputs=("t0_77",)))


def test_the_suggestion_for_an_unread_operator_converts(tmp_path: Path) -> None:
    path = convnet(tmp_path / "m.tflite", unknown="Wonder")
    (row,) = bm.convert(path, "ort", tmp_path / "out").targets
    assert row.status == "declined"
    (cut,) = row.suggestions
    assert cut.inputs == []
    assert set(cut.outputs) == {"t0_8", "t0_3"}
    assert cut.macs == 1.0
    (made,) = bm.convert(path, "ort", tmp_path / "out", outputs=cut.outputs).targets
    assert made.verified, made.summary


def test_behind_an_unread_operator_nothing_can_be_verified(tmp_path: Path) -> None:
    """LiteRT cannot run up to a value that an unknown operator makes: that is an error, not noise."""
    build = Builder()
    x = build.input(np.ones((1, 4)))
    a, b = build.tensor((1, 4)), build.tensor((1, 4))
    build.op("Wonder", [x], [a], custom=b"")
    build.op("RELU", [a], [b])
    path = build.save([b], tmp_path / "m.tflite")
    with pytest.raises(UsageError, match="refuses every input set"):
        bm.convert(path, "onnx", tmp_path / "out", inputs=["t0_1"])
    assert not (tmp_path / "out").exists()
