"""The first value that departs is found inside integer models too: one layer is damaged, and that layer is named.

(Not in `ort`: the runtime gives the integers between its kernels names of its own.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bessemer.executors import of_source
from bessemer.ir.encoding import QuantizedWeight, encoding_of, set_weight, weight_of
from bessemer.ir.model import Model
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.targets.registry import find, validate
from bessemer.verify.closeness import Closeness
from bessemer.verify.divergence import first_divergence
from bessemer.verify.inputs import generate
from bessemer.verify.landmarks import landmarks

MODEL = "mcu_models/mlperf_tiny/vww_96_int8.tflite"
BOUND = Closeness.parse("steps(1) or snr(20)")


def damage(model: Model, which: int) -> str:
    """Negate the weights of one convolution; returns the name of the first encoded value behind it."""
    conv = [node for node in model.graph.graph if node.op_type == "Conv"][which]
    value = conv.inputs[1]
    held = weight_of(value)
    assert value is not None
    assert held is not None
    set_weight(value, QuantizedWeight(np.maximum(held.integers, -127) * np.int8(-1), held.encoding))
    result = conv.outputs[0]
    while encoding_of(result) is None:
        result = result.uses()[0].node.outputs[0]
    return str(result.name)


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("which", [None, 2, 11])
def test_the_damaged_layer_is_named(
    real_asset: Callable[[str], Path], tmp_path: Path, target: str, which: int | None
) -> None:
    path = real_asset(MODEL)
    sound, damaged = (normalise(open_model(path, ConvertOptions().opening), ConvertOptions()).model for _ in range(2))
    name = None if which is None else damage(damaged, which)
    place = find(target).load()
    prepared = place.prepare(damaged, validate(target, place, {}))
    artifact = place.runner(place.write(prepared, tmp_path, "damaged").path)
    original = of_source(str(path), ConvertOptions().opening)
    marks = landmarks(sound, prepared)
    assert sum(mark.mine is not None for mark in marks) > 20
    item = generate(original.signature, seed=0, bounds={})[0]
    found = first_divergence(original, artifact, prepared.inputs, item, marks, BOUND)
    if name is None:
        assert found is None
        return
    assert found is not None
    value = next(v for node in sound.graph.graph for v in node.outputs if v.name == name)
    assert found.value == value.meta["bessemer.tensor"][0]


def test_a_damaged_layer_of_a_channels_last_float_model_is_named(tmp_path: Path) -> None:
    import onnx_ir

    path = Path(__file__).resolve().parents[3] / "demo" / "digits.tflite"
    sound, damaged = (normalise(open_model(path, ConvertOptions().opening), ConvertOptions()).model for _ in range(2))
    conv = [node for node in damaged.graph.graph if node.op_type == "Conv"][1]
    weights = conv.inputs[1]
    assert weights is not None
    assert weights.const_value is not None
    weights.const_value = onnx_ir.tensor(-weights.const_value.numpy())
    place = find("onnx").load()
    prepared = place.prepare(damaged, validate("onnx", place, {}))
    artifact = place.runner(place.write(prepared, tmp_path, "damaged").path)
    original = of_source(str(path), ConvertOptions().opening)
    item = generate(original.signature, seed=0, bounds={})[0]
    bound = Closeness.parse("close(1e-4, 1e-4)")
    found = first_divergence(original, artifact, prepared.inputs, item, landmarks(sound, prepared), bound)
    assert found is not None
    after = [node.outputs[0] for node in sound.graph.graph][[n.name for n in sound.graph.graph].index(conv.name) :]
    seen = next(value.meta["bessemer.tensor"][0] for value in after if "bessemer.tensor" in value.meta)
    assert found.value == seen
