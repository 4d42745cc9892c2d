"""Activations in 16 bits in ONNX files: the standard's Q/DQ from opset 21 on, ONNX Runtime's own below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bessemer.ir.errors import Declined
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.quantize.judge import emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.request import ConvertOptions
from bessemer.runners.graph import GraphRunner
from bessemer.targets.onnx.target import TARGET as ONNX
from bessemer.targets.onnx.target import OnnxOptions
from bessemer.targets.ort.target import TARGET as ORT
from bessemer.targets.ort.target import OrtOptions

DEMO = Path(__file__).resolve().parents[3] / "demo"


@pytest.fixture(scope="module")
def made() -> tuple[Model, np.ndarray]:
    model = normalise(open_model(DEMO / "digits.onnx", ConvertOptions().opening), ConvertOptions()).model
    with np.load(DEMO / "digits_test.npz") as held:
        images = next(held[name] for name in held.files if held[name].ndim > 1).astype(np.float32)
    name = model.signature.inputs[0].name
    samples = [{name: image[None]} for image in images[:20]]
    return quantize(model, Quantize("int16x8", "minmax", level=0), samples)[0], images[20:60]


@pytest.mark.parametrize(("opset", "domain"), [(21, ""), (17, "com.microsoft"), (13, "com.microsoft")])
def test_onnx_runtime_computes_what_the_encodings_say(
    made: tuple[Model, np.ndarray], tmp_path: Path, opset: int, domain: str
) -> None:
    model, images = made
    options = OrtOptions(precision="int16x8", opset=opset)
    file = ORT.write(ORT.prepare(Model(model.graph.clone(), model.origin), options), tmp_path, "made").path
    proto = onnx.load(file)
    found = {node.domain for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    assert found == {domain}
    assert onnx.TensorProto.INT16 in {item.data_type for item in proto.graph.initializer}
    feed = {model.signature.inputs[0].name: images}
    want = GraphRunner(emulated(model.graph), optimize=False).run(feed)
    got = ORT.runner(file).run(feed)
    for name, array in want.items():
        assert np.abs(array - got[name]).max() <= 1e-3 * np.abs(array).max()


def test_the_portable_file_needs_opset_21(made: tuple[Model, np.ndarray]) -> None:
    model, _ = made
    with pytest.raises(Declined, match="INT16 per tensor: needs opset 21, not 17"):
        ONNX.prepare(Model(model.graph.clone(), model.origin), OnnxOptions(precision="int16x8", opset=17))
