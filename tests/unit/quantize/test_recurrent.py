"""Recurrent layers: float beside integers where there is no kernel, int8 weights where there is one; in both runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.encoding import encoding_of, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.hybrid import make_hybrid
from bessemer.quantize.judge import Judge, clone, emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample
from bessemer.quantize.stage import quantize
from bessemer.quantize.weights import quantize_weights
from bessemer.runners.graph import GraphRunner
from bessemer.targets.registry import find, validate

from .nets import model_of

NET = """
net (float[6,2,24] x) => (float[2,10] y) {
  c = MatMul(x, wc)
  r = Relu(c)
  all, last = KIND<hidden_size=20, direction="WAY">(r, w, u, b)
  t = Transpose<perm=[1,0,2]>(last)
  f = Flatten(t)
  y = Gemm(f, wy, by)
}
"""
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
CASES = [("LSTM", "forward"), ("LSTM", "reverse"), ("LSTM", "bidirectional"), ("GRU", "forward"), ("GRU", "bidirectional")]


def net(kind: str, way: str = "forward") -> Model:
    rng = np.random.default_rng(3)
    ways, rows = 1 + (way == "bidirectional"), GATES[kind] * 20
    shapes = {"wc": (24, 32), "w": (ways, rows, 32), "u": (ways, rows, 20), "b": (ways, 2 * rows), "wy": (20 * ways, 10)}
    weights = {name: rng.standard_normal(shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}
    weights["w"][:, ::3] *= 20  # rows of one matrix differ, so that one scale would drown the small ones
    weights |= {"by": rng.standard_normal(10)}
    text = NET.replace("KIND", kind).replace("WAY", way)
    return model_of(text, {name: array.astype(np.float32) for name, array in weights.items()})


def sequences(count: int = 16) -> list[Sample]:
    rng = np.random.default_rng(4)
    return [{"x": rng.standard_normal((6, 2, 24)).astype(np.float32)} for _ in range(count)]


def ratio(model: Model, target: str, made: Model, options: dict[str, str], folder: Path) -> tuple[float, dict[str, int]]:
    """SNR of the artifact's outputs, run in its own runtime, against the float model's; its operators."""
    from bessemer.verify.compare import from_artifact, to_artifact

    loaded = find(target).load()
    prepared = loaded.prepare(clone(made), validate(target, loaded, options))
    runner = loaded.runner(loaded.write(prepared, folder, "net").path)
    float_, signal, noise = GraphRunner(model.graph), 0.0, 0.0
    for sample in sequences():
        got = runner.run(to_artifact(sample, prepared.inputs))
        for name, want in float_.run(sample).items():
            border = prepared.outputs[name]
            signal += float(np.square(want).sum())
            noise += float(np.square(from_artifact(got[border.name], border) - want).sum())
    return float(10 * np.log10(signal / noise)), dict(prepared.operators)


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_a_static_model_names_its_recurrent_layer_as_float(kind: str, way: str, tmp_path: Path) -> None:
    model = net(kind, way)
    made, record = quantize(model, Quantize(level=1), sequences())
    (reason,) = [reason for _, reason in record.floats if kind in reason]
    assert reason == f"no integer kernel for {kind}"
    ways, steps, batch = 1 + (way == "bidirectional"), 6, 2
    cell = ways * steps * batch * GATES[kind] * 20 * (32 + 20)
    rest = steps * batch * 24 * 32 + batch * 20 * ways * 10
    assert record.float_macs == pytest.approx(cell / (cell + rest))
    assert record.weights == 2
    emulation = Judge(model, sequences())(made)
    for target in ("ort", "tflite"):
        found, operators = ratio(model, target, made, {"precision": "int8"}, tmp_path)
        assert found > min(emulation - 1, 40), (target, operators)
        assert emulation > 25


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_hybrid_kernels_take_recurrent_weights_in_lite_rt(kind: str, way: str, tmp_path: Path) -> None:
    model = net(kind, way)
    made = clone(model)
    done = make_hybrid(made)
    assert done.weights == 2, "the small products are not worth it"
    cell = next(node for node in made.graph.graph if node.op_type == kind)
    for place in (1, 2):
        held = weight_of(cell.inputs[place])
        assert held is not None
        assert held.encoding.scale.shape == (1 + (way == "bidirectional"), GATES[kind] * 20, 1)
    found, operators = ratio(model, "tflite", made, {"precision": "int8-dynamic"}, tmp_path)
    assert 28 < found < 70, found
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators)
    size = (tmp_path / "net.tflite").stat().st_size
    ratio(model, "tflite", model, {}, tmp_path)
    floats = sum(item.nbytes for item in (cell.inputs[1].const_value.numpy(), cell.inputs[2].const_value.numpy()))
    assert size < (tmp_path / "net.tflite").stat().st_size - 0.6 * floats


@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
def test_lstms_quantize_what_they_read_in_onnx_runtime(way: str, tmp_path: Path) -> None:
    model = net("LSTM", way)
    asked = validate("ort", find("ort").load(), {"precision": "int8-dynamic"})
    made, record = quantize_weights(model, asked, None)
    assert len(record.layers) == 4
    assert min(snr for _, snr in record.layers) > 38
    found, operators = ratio(model, "ort", made, {"precision": "int8-dynamic"}, tmp_path)
    assert operators["com.microsoft.DynamicQuantizeLSTM"] == 1
    assert found > 25
    weights_alone = Judge(model, sequences())(made)
    assert found < weights_alone + 3, "activations are quantized, too"
    stated, operators = ratio(model, "onnx", made, {"precision": "int8-dynamic"}, tmp_path)
    assert operators["LSTM"] == 1, "the standard has no integer LSTM: its codes are dequantized"
    assert stated > 25


def test_what_has_no_kernel_is_named() -> None:
    asked = validate("ort", find("ort").load(), {"precision": "int8-dynamic"})
    made, record = quantize_weights(net("GRU"), asked, None)
    assert [reason for _, reason in record.floats] == ["no kernel for GRU with int8-dynamic weights"]
    cell = next(node for node in made.graph.graph if node.op_type == "GRU")
    assert encoding_of(cell.inputs[1]) is None
    kept = clone(net("LSTM"))
    with pytest.raises(UsageError, match="kept by 'LSTM'"):
        make_hybrid(kept, keep=["LSTM"])


def test_the_emulation_of_a_hybrid_cell_is_that_of_its_codes() -> None:
    model = net("LSTM")
    made = clone(model)
    make_hybrid(made)
    cell = next(node for node in made.graph.graph if node.op_type == "LSTM")
    real = [np.asarray(cell.inputs[place].const_value.numpy()) for place in (1, 2)]
    twin = clone(model)
    mine = next(node for node in twin.graph.graph if node.op_type == "LSTM")
    import onnx_ir

    for place, array in zip((1, 2), real, strict=True):
        mine.inputs[place].const_value = onnx_ir.tensor(array, name=mine.inputs[place].name)
    sample = sequences(1)[0]
    got = GraphRunner(emulated(made.graph), optimize=False).run(sample)["y"]
    np.testing.assert_allclose(got, GraphRunner(twin.graph).run(sample)["y"], rtol=1e-5, atol=1e-5)
