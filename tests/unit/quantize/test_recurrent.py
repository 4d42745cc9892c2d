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
from bessemer.verify.compare import from_artifact, to_artifact

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


def test_the_voice_detector_keeps_its_lstm_float_or_dynamic(real_asset, tmp_path: Path) -> None:
    """Silero VAD at 16 kHz: the If on the sampling rate is decided, its LSTM is one operator."""
    import wave

    import onnx

    from bessemer.pipeline import ConvertOptions, normalise, open_model

    proto = onnx.load(real_asset("audio/silero_vad/silero_vad.onnx"))
    kept = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in
            (("input", (1, 576)), ("state", (2, 1, 128)))]  # fmt: skip
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(16000), "sr"))
    onnx.save(proto, tmp_path / "vad.onnx")
    model = open_model(tmp_path / "vad.onnx", ConvertOptions().opening)
    normalise(model, ConvertOptions())
    with wave.open(str(real_asset("audio/silero_vad/test.wav"))) as sound:
        signal = np.frombuffer(sound.readframes(512 * 400), np.int16).astype(np.float32) / 32768
    runner, state, samples = GraphRunner(model.graph), np.zeros((2, 1, 128), np.float32), []
    for place in range(64, signal.size - 512, 512):
        samples.append({"input": signal[None, place - 64 : place + 512], "state": state})
        state = runner.run(samples[-1])["stateN"]
    judge = Judge(model, samples[1::7])
    made, record = quantize(model, Quantize(level=1), samples[::7])
    assert "no integer kernel for LSTM" in {reason for _, reason in record.floats}
    assert record.float_macs is not None
    assert 0.1 < record.float_macs < 0.9
    asked = validate("ort", find("ort").load(), {"precision": "int8-dynamic"})
    dynamic, _ = quantize_weights(model, asked, None)
    hybrid = clone(model)
    make_hybrid(hybrid)
    assert judge(made) > 22
    for target, source, options, least in (
        ("ort", made, {"precision": "int8"}, judge(made) - 1),
        ("tflite", made, {"precision": "int8"}, judge(made) - 1),
        ("ort", dynamic, {"precision": "int8-dynamic"}, 34),
        ("tflite", hybrid, {"precision": "int8-dynamic"}, 34),
    ):
        loaded = find(target).load()
        prepared = loaded.prepare(clone(source), validate(target, loaded, options))
        artifact = loaded.runner(loaded.write(prepared, tmp_path, target).path)
        assert Judged(artifact, prepared).ratio(judge) > least, target


class Judged:
    """An artifact in its own runtime, asked as `Judge` asks a model."""

    def __init__(self, runner, prepared) -> None:
        self.runner, self.prepared = runner, prepared

    def ratio(self, judge: Judge) -> float:
        shares: dict[str, list[float]] = {}
        for sample, want in zip(judge.samples, judge.wanted, strict=True):
            got = self.runner.run(to_artifact(sample, self.prepared.inputs))
            for name, right in want.items():
                border = self.prepared.outputs[name]
                held = shares.setdefault(name, [0.0, 0.0])
                held[0] += float(np.square(from_artifact(got[border.name], border) - right).sum())
                held[1] += float(np.square(right).sum())
        return float(-10 * np.log10(np.mean([noise / signal for noise, signal in shares.values()])))
