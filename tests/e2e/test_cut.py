"""Real models cut as a user cuts them, verified on values that the original computes; suggestions that are followed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bessemer as bm
from bessemer.report.words import options
from bessemer.verify.evidence import Evidence, TargetEvidence

from .conftest import Run, save

MOBILENET = "imagenet_classifiers/mobilenet_v2_torchvision_fp32.onnx"
Asset = Callable[[str], Path]


def tapped(path: Path, name: str, image: np.ndarray) -> np.ndarray:
    """A value inside an ONNX file, by ONNX Runtime alone."""
    import onnx
    import onnxruntime

    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return np.asarray(session.run([name], {session.get_inputs()[0].name: image})[0])


def test_a_feature_map_of_a_real_model(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """The artifact gives what ONNX Runtime computes inside the original, on a picture it has never seen."""
    from bessemer.runners.litert import LiteRTRunner

    path = real_asset(MOBILENET)
    done = bessemer("convert", path, "--outputs", "Add_50", "--to", "tflite", "--report", "r.json", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    assert "cut from input to Add_50: 50 of 100 nodes" in " ".join(done.stdout.split())
    evidence = Evidence.model_validate_json((tmp_path / "r.json").read_text())
    assert evidence.source.cut is not None
    assert (evidence.source.cut.nodes, evidence.source.cut.of) == (50, 100)
    assert evidence.manifest.options["outputs"] == "('Add_50',)"
    assert "50 of 100 nodes" in (tmp_path / "r.html").read_text()
    image = np.random.default_rng(11).standard_normal((1, 3, 224, 224)).astype(np.float32)
    runner = LiteRTRunner(tmp_path / "out" / "mobilenet_v2_torchvision_fp32.tflite")
    (got,) = runner.run({runner.signature.inputs[0].name: image}).values()
    np.testing.assert_allclose(got, tapped(path, "Add_50", image), atol=1e-4)


def test_front_and_back_joined_are_the_model_again(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """Cut into a TFLite front and an ONNX back; their join answers as the original does."""
    path = real_asset(MOBILENET)
    assert bessemer("convert", path, "--outputs", "Add_50", "--to", "tflite", "--out", "a").returncode == 0
    assert bessemer("convert", path, "--inputs", "Add_50", "--to", "onnx", "--out", "b").returncode == 0
    name = "mobilenet_v2_torchvision_fp32"
    done = bessemer("join", f"front=a/{name}.tflite", f"back=b/{name}.onnx", "--out", "back/again.onnx")
    assert done.returncode == 0, done.stderr
    assert "wire: back:Add_50 = front:Add_50" in done.stdout
    assert "LiteRT" in bessemer("verify", "back/again.onnx", "--against", "back/again.join").stdout
    again = bessemer("verify", "back/again.onnx", "--against", path)
    assert again.returncode == 0, again.stdout
    assert bessemer("convert", "back/again.join", "--to", "tflite", "--out", "c").returncode == 0


def test_integers_inside_a_quantized_model(real_asset: Asset, tmp_path: Path) -> None:
    path = real_asset("imagenet_classifiers/tf2_mobilenet_v2_1.0_224_ptq.tflite")
    cut = {"inputs": "MobileNetV2/expanded_conv_3/add/add", "outputs": "MobileNetV2/expanded_conv_6/add/add"}
    (row,) = bm.convert(path, "tflite", tmp_path, bound="exact", **cut).targets
    assert row.verified, row.summary
    assert [border.dtype for border in row.borders] == ["int8", "int8"]


def test_calibrated_on_what_the_original_computes_there(convnet: Path, tmp_path: Path) -> None:
    """The user's pictures are the whole's; integer ranges are those of the values behind the Relu."""
    data = tmp_path / "pictures.npy"
    np.save(data, np.random.default_rng(4).standard_normal((24, 3, 16, 16), np.float32))
    said = {"calibration": data, "inputs": "b", "outputs": "d"}
    evidence = bm.convert(convnet, "tflite:int8", tmp_path / "out", **said)
    (row,) = evidence.targets
    assert row.verified, row.summary
    assert row.quantization is not None
    assert row.quantization.samples == 24
    assert row.input_sets == ["pictures.npy[0:24]"], "verified on the calibration data, tapped"
    assert "calibrated on what the original computes at the cut's inputs" in row.notes
    border = next(item for item in evidence.source.inputs)
    assert (border.name, border.shape[1:]) == ("b", [8, 8, 8])


def test_labels_of_the_whole_say_nothing_of_a_part(convnet: Path, tmp_path: Path) -> None:
    data, labels = tmp_path / "x.npy", tmp_path / "labels.npy"
    np.save(data, np.random.default_rng(4).standard_normal((4, 3, 16, 16), np.float32))
    np.save(labels, np.arange(4))
    (row,) = bm.convert(convnet, "onnx", tmp_path / "out", outputs="e", data=data, labels=labels).targets
    assert row.verified, row.summary
    assert row.accuracy is None
    assert "accuracy was not measured: the labels speak of the whole model's answers" in row.notes


def test_an_archive_remembers_the_cut(bessemer: Run, convnet: Path) -> None:
    done = bessemer("convert", convnet, "--inputs", "b", "--stop-after", "rewrite")
    assert done.returncode == 0, done.stderr
    archive = convnet.parent / "out" / "convnet.rewrite.bsm"
    done = bessemer("convert", archive, "--to", "tflite", "--json", "--out", "made")
    assert done.returncode == 0, done.stderr
    evidence = Evidence.model_validate_json(done.stdout)
    assert evidence.source.cut is not None
    assert evidence.source.cut.inside == ["b"]
    assert evidence.targets[0].reference.startswith("ONNX Runtime")
    assert bessemer("convert", archive, "--outputs", "e", "--to", "onnx", "--out", "made").returncode == 0
    quantized = bessemer("convert", convnet, "--outputs", "e", "--stop-after", "quantize", "--to", "tflite:int8")
    assert quantized.returncode == 2, "there is no calibration data"


def test_run_shows_values_inside(bessemer: Run, convnet: Path) -> None:
    done = bessemer("run", convnet, "--outputs", "b,e", "--save", "v.npz", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["sets"][0]
    assert list(first) == ["b", "e"]
    assert first["b"]["min"] == 0.0, "it is behind a Relu"


def test_compare_and_analyze_take_a_cut(bessemer: Run, convnet: Path) -> None:
    assert bessemer("convert", convnet, "--inputs", "b", "--outputs", "d", "--to", "onnx").returncode == 0
    done = bessemer("compare", convnet, "out/convnet.onnx", "--inputs", "b", "--outputs", "d")
    assert done.returncode == 0, done.stderr
    record = json.loads(bessemer("inspect", convnet, "--inputs", "b", "--outputs", "d", "--json").stdout)
    assert (record["nodes"], record["cut"]["inside"], record["cut"]["of"]) == (2, ["b"], 7)


def test_a_runtime_that_does_not_show_a_value_declines(tmp_path: Path) -> None:
    """A value inside a function of the model: the graph knows it, ONNX Runtime's session does not."""
    import onnx
    from onnx import parser

    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
    net (float[2] x) => (float[2] y) { y = mine.twice (x) }
    <domain: "mine", opset_import: ["" : 17]> twice (u) => (w) { v = Relu (u) w = Add (v, v) }"""
    path = tmp_path / "f.onnx"
    onnx.save(parser.parse_model(text), path)
    inner = [value.name for node in bm.cut(bm.load(path), (), "y").graph.graph for value in node.outputs]
    (row,) = bm.convert(path, "onnx", tmp_path / "out", outputs=inner[0]).targets
    assert row.status == "declined"
    assert row.blockers[0].rule == "no-tap"
    assert "does not show this value" in row.blockers[0].reason


def detector(source: Path, path: Path) -> Path:
    """YOLOX as deployed: boxes decoded, and a suppression that only TensorRT has."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    scales = (8, 16, 32)
    cells = [np.stack(np.meshgrid(np.arange(416 // s), np.arange(416 // s)), -1).reshape(-1, 2) for s in scales]
    strides = [np.full(((416 // s) ** 2, 1), s) for s in scales]
    held = {"cells": np.concatenate(cells)[None], "strides": np.concatenate(strides)[None]}
    held = {name: array.astype(np.float32) for name, array in held.items()} | {"axis": np.array([2])}
    for name, (start, end) in {"xy": (0, 2), "wh": (2, 4), "objectness": (4, 5), "classes": (5, 85)}.items():
        held |= {f"{name}_from": np.array([start]), f"{name}_to": np.array([end])}
        graph.node.append(helper.make_node("Slice", ["output", f"{name}_from", f"{name}_to", "axis"], [name]))
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in held.items())
    decode = [("Add", "xy cells", "placed"), ("Mul", "placed strides", "centres"), ("Exp", "wh", "grown"),
              ("Mul", "grown strides", "sizes"), ("Mul", "objectness classes", "confidences")]  # fmt: skip
    graph.node.extend(helper.make_node(op, read.split(), [made]) for op, read, made in decode)
    graph.node.append(helper.make_node("Concat", ["centres", "sizes"], ["boxes"], axis=2))
    ends = ["count", "found", "scores", "labels"]
    graph.node.append(helper.make_node("EfficientNMS_TRT", ["boxes", "confidences"], ends, name="nms", domain="TRT"))
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends)
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    onnx.save(model, path)
    return path


def test_a_detector_whose_suppression_is_foreign(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """Both suggestions, typed as they are printed, convert and are verified, though no runtime here runs the whole."""
    path = detector(real_asset("detection/yolox_nano.onnx"), tmp_path / "trt.onnx")
    done = bessemer("check", path, "--to", "tflite", "--json")
    assert done.returncode == 3
    (row,) = [TargetEvidence.model_validate(row) for row in json.loads(done.stdout)["targets"]]
    largest, head = row.suggestions
    assert set(largest.outputs) == {"boxes", "confidences"}
    assert head.outputs == ["output"]
    assert "detection head" in head.why
    shown = " ".join(bessemer("check", path, "--to", "tflite").stdout.split())
    assert options(largest) in shown
    for item in (largest, head):
        made = bessemer("convert", path, "--to", "tflite", "--out", "o", *shlex.split(options(item)))
        assert made.returncode == 0, made.stdout
        assert "verified" in made.stdout


def test_a_detector_whose_last_operator_is_unknown(real_asset: Asset, tmp_path: Path) -> None:
    """Reading stops nowhere: what does not depend on the custom operator is suggested, and converts."""
    source = real_asset("detection/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite").read_bytes()
    path = tmp_path / "ssd.tflite"
    path.write_bytes(source.replace(b"TFLite_Detection_PostProcess\0", b"MyOwn__Detection_PostProcess\0"))
    (row,) = bm.convert(path, "ort", tmp_path / "out").targets
    assert row.status == "declined"
    (item,) = row.suggestions
    assert (item.outputs, item.macs) == (["Squeeze", "convert_scores"], 1.0)
    (made,) = bm.convert(path, "tflite", tmp_path / "out", outputs=item.outputs, bound="exact").targets
    assert made.verified, made.summary
    assert made.reference.endswith("up to the cut")


def test_blockers_in_the_middle_leave_the_larger_side(tmp_path: Path) -> None:
    """LiteRT has no text: what follows is larger, and begins behind the last blocker."""
    text = """net (string[2] words, float[2, 8] x) => (float[2, 8] y, string[2] z) {
        lower = StringNormalizer <case_change_action = "LOWER"> (words)
        z = StringNormalizer <case_change_action = "UPPER"> (lower)
        a = MatMul (x, w)
        b = Relu (a)
        y = MatMul (b, w)
    }"""
    rng = np.random.default_rng(2)
    path = save(tmp_path / "m.onnx", text, {"w": rng.standard_normal((8, 8)).astype(np.float32)})
    (row,) = bm.convert(path, "tflite", tmp_path / "out").targets
    assert row.status == "declined"
    (item,) = row.suggestions
    assert (item.inputs, item.outputs) == ([], ["y"])
    (made,) = bm.convert(path, "tflite", tmp_path / "out", outputs=item.outputs).targets
    assert made.verified, made.summary


def test_what_can_only_begin_behind_a_blocker(tmp_path: Path) -> None:
    """The suggestion may be inputs: the original still computes what is fed there."""
    text = """net (float[1, 1, 8, 8] x) => (float[1, 64] y) {
        d = Det (x)
        s = Mul (x, k)
        t = Add (s, d)
        f = Flatten (t)
        a = MatMul (f, w)
        b = Relu (a)
        y = MatMul (b, w)
    }"""
    rng = np.random.default_rng(2)
    held = {"w": rng.standard_normal((64, 64)).astype(np.float32) / 8, "k": np.float32(0.1).reshape(1)}
    path = save(tmp_path / "m.onnx", text, held)
    rows = bm.convert(path, "tflite", tmp_path / "out").targets
    if rows[0].status != "declined":
        pytest.skip("the target has a determinant by now")
    item = rows[0].suggestions[0]
    assert item.inputs
    (made,) = bm.convert(path, "tflite", tmp_path / "out", inputs=item.inputs, outputs=item.outputs).targets
    assert made.verified, made.summary


def test_nothing_is_suggested_where_no_part_is_left(bessemer: Run, unrunnable: Path) -> None:
    done = bessemer("check", unrunnable, "--to", "tflite", "--json")
    (row,) = json.loads(done.stdout)["targets"]
    assert row["suggestions"] == []


def test_a_frozen_graph_that_decodes_its_sound(bessemer: Run, real_asset: Asset, tmp_path: Path) -> None:
    """DecodeWav has no form in ONNX; the suggestion begins behind its front end, and real recordings pass through both."""
    path = real_asset("audio/kws_arm_tf1_pb/DS_CNN_S.pb")
    done = bessemer("check", path, "--to", "tflite", "--json")
    assert done.returncode == 3
    (row,) = [TargetEvidence.model_validate(row) for row in json.loads(done.stdout)["targets"]]
    assert {blocker.op for blocker in row.blockers} == {"DecodeWav", "Mfcc"}
    front, item = row.suggestions  # the spectrogram's products are the most work, the network has the most nodes
    assert front.outputs == ["AudioSpectrogram"]
    assert (item.inputs, item.outputs) == (["Mfcc"], ["labels_softmax"])
    said = {"inputs": item.inputs, "outputs": item.outputs, "original": "reference"}
    (made,) = bm.convert(path, "tflite", tmp_path / "out", **said).targets
    assert made.verified, made.summary
    words = real_asset("data/speech_commands_v0.01_sample")
    (made,) = bm.convert(path, "tflite", tmp_path / "out", data=words, samples=8, **said).targets
    assert made.verified, made.summary
    assert len(made.input_sets) == 8


def test_a_saved_model_and_a_keras_file(real_asset: Asset, tmp_path: Path) -> None:
    """Formats whose originals Bessemer evaluates itself are tapped there."""
    cases = {
        "mcu_models/mlperf_tiny/kws_ref_model": "functional_1/conv2d_2/Conv2D",
        "mcu_models/mlperf_tiny/pretrainedResnet.h5": "activation_3",
    }
    for name, value in cases.items():
        (row,) = bm.convert(real_asset(name), "tflite", tmp_path, outputs=value, original="reference").targets
        assert row.verified, row.summary
        assert "reference evaluator" in row.reference
