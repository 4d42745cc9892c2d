"""The Python API: verb by verb, in one call, and ConversionManager."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bessemer as bm
from bessemer.ir.errors import Declined, UnreadableInput, UsageError, VerificationFailed
from bessemer.manager import ConversionManager


def test_importing_bessemer_imports_nothing_else() -> None:
    code = (
        "import sys, bessemer; print([m for m in sys.modules if m.startswith('bessemer.') or m == 'numpy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    assert bm.__version__.count(".") == 2
    assert set(bm.__all__) <= set(dir(bm))
    assert all(callable(getattr(bm, name)) for name in bm.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'konvert'"):
        bm.konvert  # noqa: B018  # the access is the test


def test_verb_by_verb(convnet: Path) -> None:
    model = bm.optimize(bm.load(convnet))
    artifact = bm.compile(model, "tflite:fp16", out=convnet.parent / "made")
    assert artifact.path.is_file()
    evidence = bm.verify(artifact, against=convnet, bound="snr(40)")
    assert evidence.verified
    assert evidence.runtime.startswith("LiteRT")


def test_compile_leaves_the_model_as_it_was(convnet: Path) -> None:
    model = bm.load(convnet)
    nodes = [node.op_type for node in model.graph.graph]
    bm.compile(model, "tflite", out=convnet.parent / "made")
    assert [node.op_type for node in model.graph.graph] == nodes


def test_in_one_call(convnet: Path) -> None:
    evidence = bm.convert(convnet, to=["tflite", "onnx"], out=convnet.parent / "made", seed=3)
    assert [row.verified for row in evidence.targets] == [True, True]
    assert evidence.exit_code == 0
    assert "seed 3" in evidence.targets[0].input_sets[0]


def test_unknown_options_are_errors(convnet: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'seed'"):
        bm.convert(convnet, to="onnx", out=convnet.parent / "made", sede=3)


def test_the_manager_converts_to_a_file(convnet: Path) -> None:
    import onnx

    place = convnet.parent / "made" / "renamed.onnx"
    config = {"format": "onnx", "opset_version": 13, "seed": 1, "shapes": {"image": [2, 3, 16, 16]}}
    done = ConversionManager().convert(convnet, place, "onnx", config)
    assert done.path == place
    assert done.evidence.targets[0].verified
    assert onnx.load(place).opset_import[0].version == 13
    assert sorted(item.name for item in place.parent.iterdir()) == ["renamed.onnx"]


def test_the_manager_knows_roads_and_folders(convnet: Path) -> None:
    made = ConversionManager().convert(convnet, convnet.parent / "made", "onnx2tflite", {"precision": "fp16"})
    assert made.path.suffix == ".tflite"
    back = ConversionManager().convert(made.path, convnet.parent / "back", "tflite2onnx")
    assert back.evidence.source.format == "tflite"


@pytest.mark.parametrize(
    ("converter", "config", "said"),
    [
        ("onnx", {"opset_versoin": 12}, "Did you mean 'opset_version'"),
        ("onnx", {"format": "tflite"}, "makes 'onnx'"),
        ("keras", {}, "no target 'keras'"),
        ("tflite2onnx", {}, "reads tflite"),
        ("tflite", {"opset_version": 12}, "no config key 'opset_version'"),
        ("tflite", {"io": "sideways"}, "io='sideways'"),
    ],
)
def test_the_manager_refuses_what_it_does_not_know(
    convnet: Path, converter: str, config: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ConversionManager().convert(convnet, convnet.parent / "made", converter, config)
    assert not (convnet.parent / "made").exists()


def test_the_manager_raises_what_is_not_verified(convnet: Path, unrunnable: Path) -> None:
    made = convnet.parent / "made"
    with pytest.raises(Declined) as refusal:
        ConversionManager().convert(unrunnable, made, "tflite")
    assert refusal.value.blockers
    with pytest.raises(VerificationFailed):
        ConversionManager().convert(convnet, made, "tflite", {"precision": "fp16", "bound": "exact"})
    with pytest.raises(UnreadableInput):
        bad = convnet.parent / "bad.onnx"
        bad.write_bytes(b"no model")
        ConversionManager().convert(bad, made, "onnx")
    with pytest.raises(UsageError, match="does not end in"):
        ConversionManager().convert(convnet, made / "x.tflite", "onnx")
    assert not made.exists()


def test_the_manager_compares_accuracy(convnet: Path) -> None:
    rng = np.random.default_rng(0)
    data = convnet.parent / "data.npz"
    np.savez(data, image=rng.standard_normal((8, 3, 16, 16), np.float32), labels=rng.integers(0, 5, 8))
    done = ConversionManager().convert(convnet, convnet.parent / "made", "tflite", {"data": str(data)})
    assert done.evidence.targets[0].accuracy is not None


def test_the_manager_cuts(convnet: Path) -> None:
    config = {"inputs": ["b"], "outputs": ["d"]}
    made = ConversionManager().convert(convnet, convnet.parent / "part.onnx", "onnx", config)
    assert made.evidence.source.cut is not None
    assert made.evidence.source.cut.inside == ["b"]
    assert [spec.name for spec in bm.load(made.path).signature.inputs] == ["b"]


def test_cut_and_verify_by_verbs(convnet: Path) -> None:
    part = bm.cut(bm.load(convnet), outputs="d")
    artifact = bm.compile(part, "tflite", out=convnet.parent / "made")
    assert bm.verify(artifact, convnet, outputs="d").verified
    with pytest.raises(UsageError, match="differ in their borders"):
        bm.verify(artifact, convnet, outputs=["d", "e"])
