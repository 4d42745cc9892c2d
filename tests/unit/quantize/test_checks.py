"""Data beside the model it is meant for: what is said of another scale, and nothing of the right one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx_ir
import pytest
from onnx import parser

from bessemer.ir.canonical import RANGE_KEY
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, Origin
from bessemer.opening import normalise, open_model
from bessemer.quantize.checks import check_data
from bessemer.quantize.levels import Quantize, check_enough
from bessemer.request import ConvertOptions
from bessemer.wire.errors import WireError
from bessemer.wire.tflite.metadata import input_ranges

ROOT = Path(__file__).resolve().parents[3]
Scale = Callable[[np.ndarray], np.ndarray]

AS_PIXELS: Scale = lambda x: np.rint((x - x.min()) / (x.max() - x.min()) * 255)  # noqa: E731
TOO_SMALL: Scale = lambda x: x / 255  # noqa: E731


def tasks() -> tuple[Any, ...]:
    spec = importlib.util.spec_from_file_location("bench_tasks_data", ROOT / "bench/tasks/data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return tuple(module.TASKS)


def opened(path: Path) -> Model:
    return normalise(open_model(path, ConvertOptions().opening), ConvertOptions()).model


def said(model: Model, data: np.ndarray, scale: Scale = lambda x: x) -> str:
    name = model.signature.inputs[0].name
    return "; ".join(check_data(model, [{name: scale(item).astype(np.float32)} for item in data]))


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_the_right_preprocessing_of_real_models_is_not_blamed_and_a_wrong_one_is(
    task: Any, real_asset: Callable[[str], Path]
) -> None:
    model = opened(real_asset(task.model))
    data = task.load(real_asset("data").parent).calibrate[:64]
    assert said(model, data) == ""
    wants_pixels = data.min() == 0 and data.max() == 255
    if data.ndim == 5:
        assert "far too small" in said(model, data, TOO_SMALL)
        assert wants_pixels or "far too large" in said(model, data, AS_PIXELS)


def pictures(folder: Path, width: int, height: int) -> np.ndarray:
    from PIL import Image

    files = sorted((folder / "coco128_yolo/images/train2017").glob("*.jpg"))[:16]
    images = [np.asarray(Image.open(file).convert("RGB").resize((width, height)), np.float32) for file in files]
    return np.stack(images).transpose(0, 3, 1, 2)[:, None]


def test_the_statistics_of_a_batch_normalisation_tell(real_asset: Callable[[str], Path]) -> None:
    model = opened(real_asset("face/ultraface/version-RFB-320.onnx"))
    pixels = pictures(real_asset("data"), 320, 240)
    assert said(model, (pixels - 127) / 128) == ""
    assert "times what its batch normalisation was trained on" in said(model, pixels)
    assert "far too small" in said(model, (pixels - 127) / 128 / 255)


def test_a_model_that_wants_pixels_gets_them_without_a_word(real_asset: Callable[[str], Path]) -> None:
    model = opened(real_asset("face/libfacedetection/yunet_n_320_320.onnx"))
    pixels = pictures(real_asset("data"), 320, 320)
    assert said(model, pixels) == ""
    assert "feed the pixels as they are" in said(model, pixels / 255)


def net(body: str, head: str = "float[N, 3, 16, 16] x", out: str = "float[N, 4] y") -> Model:
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g ({head}) => ({out}) {body}')
    return Model(onnx_ir.serde.deserialize_model(proto), Origin("onnx", Path("net.onnx")))


WITHOUT_BIAS = """<float[4, 3, 1, 1] w = {1, -1, 1, 1, 1, 2, -1, 1, 1, 0, 1, -2}> {
    c = Conv(x, w)
    p = GlobalAveragePool(c)
    y = Flatten(p)
}"""


def images(count: int = 16, high: int = 255) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high + 1, (count, 1, 3, 16, 16)).astype(np.float32)


def test_raw_pixels_are_told_by_their_values_where_the_model_remembers_nothing() -> None:
    model = net(WITHOUT_BIAS)
    assert "looks like raw pixels" in said(model, images())
    assert said(model, images() / 255) == ""


def test_few_samples_and_constant_ones() -> None:
    model = net(WITHOUT_BIAS)
    assert "15 calibration sample(s) are few" in said(model, images(15) / 255)
    assert "every calibration value of 'x' is 3" in said(model, np.full((16, 1, 3, 16, 16), 3))
    with pytest.raises(UsageError, match="NaN"):
        said(model, np.where(images() == 7, np.nan, images()))


def test_outputs_that_stand_still_are_said() -> None:
    saturated = WITHOUT_BIAS.replace("y = Flatten(p)", "q = Abs(p)\n r = Sigmoid(q)\n y = Flatten(r)")
    model = net(saturated.replace("q = Abs(p)", "o = Abs(p)\n k = Constant<value_float = 40.0>()\n q = Add(o, k)"))
    assert "hardly change from one calibration sample to another: 'y'" in said(model, images() / 255)


def test_indices_beyond_a_table_are_an_error() -> None:
    body = "<float[5, 2] table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}> {y = Gather(table, x)}"
    model = net(body, "int64[N, 3] x", "float[N, 3, 2] y")
    rows = [{"x": np.array([[0, 1, 4]])}] * 19
    assert check_data(model, rows) == []
    with pytest.raises(UsageError, match=r"sample 19 feeds 5 to 'x'. the model looks it up in a table of 5 rows"):
        check_data(model, [*rows, {"x": np.array([[0, 1, 5]])}])


@pytest.mark.parametrize(("method", "count"), [("entropy", 7), ("percentile", 1), ("average", 1)])
def test_a_method_asked_for_by_name_needs_samples(method: str, count: int) -> None:
    with pytest.raises(UsageError, match=f"Ranges by '{method}' need"):
        check_enough(Quantize(method=method), count)
    check_enough(Quantize(), count)


def metadata(builder: flatbuffers.Builder, statistics: tuple[float, float] | None, norm: tuple[float, float]) -> bytes:
    """ModelMetadata of one input, written with the flatbuffers library."""

    def vector(items: list[int]) -> int:
        builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return int(builder.EndVector())

    def floats(value: float) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependFloat32(value)
        return int(builder.EndVector())

    def table(slots: int, fields: dict[int, int], kind: int = 0) -> int:
        builder.StartObject(slots)
        for slot, place in fields.items():
            builder.PrependUOffsetTRelativeSlot(slot, place, 0)
        if kind:
            builder.PrependUint8Slot(0, kind, 0)
        return int(builder.EndObject())

    unit = table(2, {1: table(2, {0: floats(norm[0]), 1: floats(norm[1])})}, kind=1)
    fields = {4: vector([unit])}
    if statistics is not None:
        fields[5] = table(2, {0: floats(statistics[1]), 1: floats(statistics[0])})
    graph = table(3, {2: vector([table(6, fields)])})
    builder.Finish(table(4, {3: vector([graph])}), b"M001")
    return bytes(builder.Output())


def test_metadata_of_tflite_states_the_range() -> None:
    assert input_ranges(metadata(flatbuffers.Builder(), (-1, 1), (127.5, 127.5))) == [(-1, 1)]
    assert input_ranges(metadata(flatbuffers.Builder(), None, (0, 255))) == [(0, 1)]
    assert input_ranges(metadata(flatbuffers.Builder(), None, (0, 1))) == [(0, 255)]


def test_broken_metadata_is_an_error_of_its_own() -> None:
    data = metadata(flatbuffers.Builder(), (-1, 1), (127.5, 127.5))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data[: rng.integers(1, len(data) + 1)])
        for place in rng.integers(0, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        try:
            found = input_ranges(bytes(broken))
        except WireError:
            continue
        assert len(found) <= 256


def test_metadata_of_a_real_file(real_asset: Callable[[str], Path]) -> None:
    """Its metadata was written by the authors of the TFLite support library."""
    model = open_model(real_asset("imagenet_classifiers/mobilenet_v1_0.25_128_quant.tflite"), ConvertOptions().opening)
    (value,) = model.graph.graph.inputs
    assert RANGE_KEY in value.meta


def test_data_is_held_against_the_stated_range() -> None:
    model = net(WITHOUT_BIAS)
    model.graph.graph.inputs[0].meta[RANGE_KEY] = (0.0, 255.0)
    assert said(model, images()) == ""
    assert "does not fit what the model's metadata asks for: 0 to 255" in said(model, images() / 255)
    model.graph.graph.inputs[0].meta[RANGE_KEY] = (-1.0, 1.0)
    assert "asks for: -1 to 1" in said(model, images())
    assert said(model, images() / 127.5 - 1) == ""


def test_channels_on_the_other_side_are_named(tmp_path: Path) -> None:
    from bessemer.ir.signature import Signature, TensorSpec
    from bessemer.verify.data import Request, load

    np.save(tmp_path / "a.npy", np.zeros((2, 8, 9, 3), np.float32))
    first = Signature((TensorSpec("x", "float32", ("N", 3, 8, 9)),), ())
    with pytest.raises(UsageError, match=r"channels-last and the input channels-first.*array\.transpose\(0, 3, 1, 2\)"):
        load(Request(tmp_path / "a.npy"), first)
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 8, 9), np.float32))
    last = Signature((TensorSpec("x", "float32", ("N", 8, 9, 3)),), ())
    with pytest.raises(UsageError, match=r"channels-first and the input channels-last.*array\.transpose\(0, 2, 3, 1\)"):
        load(Request(tmp_path / "a.npy"), last)
