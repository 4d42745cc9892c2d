"""Who is at fault when an artifact and its original differ: the artifact, its runtime, or the original's runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from bessemer.pipeline import convert
from bessemer.request import ConvertOptions, TargetRequest


def rows(folder: Path, text: str, *targets: str, opset: int = 17, **weights: np.ndarray) -> dict[str, Any]:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n{text}')
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    path = folder / "m.onnx"
    onnx.save(model, path)
    evidence = convert(path, [TargetRequest(target) for target in targets], folder / "out", ConvertOptions())
    return {row.target: row for row in evidence.targets}


def test_a_runtime_that_cannot_run_the_original_either_declines(tmp_path: Path) -> None:
    text = "g (uint8[1, 2, 5, 5] x) => (int32[1, 2, 4, 4] y) { y = ConvInteger (x, w, xz, wz) }"
    weights = {
        "w": np.arange(16, dtype=np.uint8).reshape(2, 2, 2, 2),
        "xz": np.array(3, np.uint8), "wz": np.array([1, 2], np.uint8),
    }  # fmt: skip
    found = rows(tmp_path, text, "onnx", "ort", **weights)
    assert found["onnx"].verified
    assert found["onnx"].reference.startswith("ONNX reference evaluator")
    assert found["ort"].status == "declined"
    assert found["ort"].blockers[0].rule == "runtime"
    assert "refuses the original file too" in found["ort"].blockers[0].reason


def test_the_standard_settles_what_the_original_runtime_gets_wrong(tmp_path: Path) -> None:
    """ONNX Runtime writes the lowest float where the standard has minus infinity."""
    text = """g (float[1, 1, 2, 2] q, float[1, 1, 2, 2] k, float[1, 1, 2, 2] v, bool[2, 2] mask)
        => (float[1, 1, 2, 2] y, float[1, 1, 2, 2] scores) {
        y, , , scores = Attention <qk_matmul_output_mode = 2> (q, k, v, mask)
    }"""
    row = rows(tmp_path, text, "tflite", opset=23)["tflite"]
    assert row.verified, row.summary
    assert row.reference.startswith("ONNX reference evaluator")
    assert any("departs from the standard" in note for note in row.notes)


def test_a_random_model_is_held_to_its_distribution(tmp_path: Path) -> None:
    text = "g (float[200, 10] x) => (float[200, 10] y) { r = RandomNormalLike <mean = 3.0> (x) y = Add (r, x) }"
    found = rows(tmp_path, text, "onnx", "ort")
    assert all(row.verified for row in found.values())
    assert all(any("drawn at random" in note for note in row.notes) for row in found.values())


def test_sequences_at_the_border(tmp_path: Path) -> None:
    text = """g (float[2, 3] x, bool c) => (seq(float[2, 3]) y) {
        y = If (c) <
            then_branch = t () => (seq(float[2, 3]) p) { q = SequenceConstruct (x, x) p = SequenceInsert (q, x) },
            else_branch = e () => (seq(float[2, 3]) r) { r = SequenceConstruct (x) }
        >
    }"""
    found = rows(tmp_path, text, "onnx", "ort", "tflite")
    assert found["onnx"].verified, found["onnx"].summary
    assert found["ort"].verified, found["ort"].blockers
    assert found["tflite"].status == "declined"


def test_half_precision_sources_are_held_to_half_precision(tmp_path: Path) -> None:
    text = "g (float16[64, 768] x) => (float16[64, 64] y) { y = MatMul (x, w) }"
    w = np.random.default_rng(0).standard_normal((768, 64)).astype(np.float16)
    row = rows(tmp_path, text, "tflite", w=w)["tflite"]
    assert row.verified, row.summary
    assert "snr(30)" in row.bound


def test_a_misspelt_attribute_means_nothing(tmp_path: Path) -> None:
    """A LayerNormalization with one is still a LayerNormalization, not the standard's less exact expansion."""
    text = "g (float[4, 64] x) => (float[4, 64] y) { y = LayerNormalization <epsion = 0.1> (x, s) }"
    row = rows(tmp_path, text, "onnx", s=np.ones(64, np.float32))["onnx"]
    assert row.verified
    assert row.operators == {"LayerNormalization": 1}


def test_floats_modulo_with_the_sign_of_the_divisor(tmp_path: Path) -> None:
    text = "g (float[40] x, float[40] d) => (float[40] y) { y = Mod (x, d) }"
    row = rows(tmp_path, text, "ort", opset=28)["ort"]
    assert row.verified, row.blockers
