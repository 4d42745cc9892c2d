"""Quantized conversions as a user meets them, on the demo model and its images."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bessemer.verify.evidence import Analysis, Evidence, Search

from .conftest import Run

DEMO = Path(__file__).resolve().parents[2] / "demo"
MODEL, IMAGES = DEMO / "digits.onnx", DEMO / "digits_test.npz"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """The first 100 images, without labels."""
    with np.load(IMAGES) as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
        np.save(tmp_path / "calibration.npy", images[:100])
    return tmp_path / "calibration.npy"


def test_integers_keep_the_accuracy_and_say_what_they_cost(bessemer: Run, calibration: Path) -> None:
    targets = ["--to", "tflite:int8", "--to", "ort:int8", "--to", "onnx:int8"]
    done = bessemer("convert", MODEL, *targets, "--calibration", calibration, "--data", IMAGES, "--json")
    assert done.returncode == 0, done.stderr
    evidence = Evidence.model_validate_json(done.stdout)
    for row in evidence.targets:
        made, accuracy = row.quantization, row.accuracy
        assert made is not None
        assert accuracy is not None
        assert accuracy.samples == 450
        assert accuracy.artifact >= accuracy.original - 0.005
        assert (made.samples, made.level) == (100, 1)
        assert made.emulation is not None
        assert made.emulation > 30
        assert made.artifact is not None
        assert made.artifact > made.emulation - 1
        assert {trial.steps for trial in made.trials} >= {"", "bias correction", "bias correction by medians"}
    assert sum(file.bytes for file in evidence.targets[0].files) < 0.5 * (DEMO / "digits.tflite").stat().st_size
    assert evidence.targets[0].operators.get("CONV_2D") == 4


def test_the_same_calibration_gives_the_same_bytes(bessemer: Run, calibration: Path) -> None:
    hashes = []
    for out in ("one", "two"):
        done = bessemer("convert", MODEL, "--to", "tflite:int8", "--calibration", calibration, "--out", out, "--json")
        hashes += [file.sha256 for row in Evidence.model_validate_json(done.stdout).targets for file in row.files]
    assert len(set(hashes)) == 1
    assert len(hashes) == 2


def test_kept_operators_stay_float_and_are_named(bessemer: Run, calibration: Path) -> None:
    done = bessemer("convert", MODEL, "--to", "tflite:int8,keep=Gemm", "--calibration", calibration, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = Evidence.model_validate_json(done.stdout).targets
    assert row.quantization is not None
    assert [item.reason for item in row.quantization.floats] == ["kept by 'Gemm'"]
    assert row.quantization.float_macs == pytest.approx(320 / 378_200, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--calibration PATH"),
        (["--to", "onnx"], "--calibration PATH"),
        (["--calibration", "{data}", "--quant-level", "4"], "needs 1024 calibration samples, there are 100"),
        (["--calibration", "{data}", "--quant-level", "7"], "no optimisation level 7"),
        (["--calibration", "{data}", "--ranges", "best"], "no range method 'best'"),
        (["--calibration", "nowhere.npy"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    bessemer: Run, calibration: Path, arguments: list[str], said: str
) -> None:
    given = [str(calibration) if item == "{data}" else item for item in arguments]
    first = ["--to", "onnx"] if given[:1] == ["--to"] else []
    rest = [] if first else given
    done = bessemer("convert", MODEL, *first, "--to", "tflite:int8", *rest, "--out", "made")
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())
    assert not list(calibration.parent.glob("made/*"))


def test_data_of_another_shape_is_named(bessemer: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((20, 8, 8, 1), np.float32))
    done = bessemer("convert", MODEL, "--to", "tflite:int8", "--calibration", tmp_path / "wrong.npy")
    assert done.returncode == 2
    assert "does not fit the input" in done.stderr


def test_a_quantized_model_is_not_quantized_again(bessemer: Run, calibration: Path) -> None:
    made = ("convert", MODEL, "--to", "tflite:int8", "--calibration", calibration, "--out", "made")
    assert bessemer(*made).returncode == 0
    file = next((calibration.parent / "made").glob("*.tflite"))
    done = bessemer("convert", file, "--to", "onnx:int8", "--calibration", calibration)
    assert done.returncode == 2
    assert "quantized already" in " ".join(done.stderr.split())


def test_analyze_names_the_worst_layers_and_what_helps(bessemer: Run, calibration: Path) -> None:
    done = bessemer("analyze", MODEL, "--calibration", calibration, "--json")
    assert done.returncode == 0, done.stderr
    found = Analysis.model_validate_json(done.stdout)
    assert len(found.layers) == 5
    assert found.snr > 30
    assert all(found.snr - 1 < item.alone for item in found.layers), "one layer alone costs no more than all together"
    assert {item.layer for item in found.remedies} <= {item.layer for item in found.layers}
    gains = [item.gain for item in found.remedies]
    assert gains == sorted(gains, reverse=True)
    shown = bessemer("analyze", MODEL, "--calibration", calibration)
    assert "remedy" in shown.stdout
    for item in found.layers:
        for held in (item.weights, item.outputs):
            assert held is not None
            assert sum(held.shares) == pytest.approx(1, abs=1e-4)
            assert held.low < held.high
    relu = next(item.outputs for item in found.layers if item.layer.startswith("stem"))
    assert relu is not None
    assert relu.low == 0
    assert "█" in shown.stdout


def test_what_analyze_writes_brings_what_it_measured(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe, common = tmp_path / "mend.toml", ["--calibration", calibration, "--quant-level", "0", "--ranges", "minmax"]
    done = bessemer("analyze", MODEL, *common, "--recipe-out", recipe, "--json")
    assert done.returncode == 0, done.stderr
    found = Analysis.model_validate_json(done.stdout)
    assert found.mend is not None
    assert found.mend.gain > 1
    assert found.mend.snr == pytest.approx(found.snr + found.mend.gain, abs=0.5)
    assert recipe.read_text() == found.recipe
    rows = []
    for more in ([], ["--recipe", recipe]):
        made = bessemer("convert", MODEL, "--to", "tflite:int8", *common, "--data", IMAGES, "--json", *more)
        assert made.returncode == 0, made.stderr
        rows.append(Evidence.model_validate_json(made.stdout).targets[0].quantization)
    plain, mended = rows
    assert plain is not None
    assert mended is not None
    assert mended.trials[-1].snr == pytest.approx(found.mend.snr, abs=0.01)
    assert plain.emulation is not None
    assert mended.emulation is not None
    assert mended.artifact is not None
    assert mended.emulation > plain.emulation + 0.5 * found.mend.gain, "on images that it never saw"
    assert mended.artifact > mended.emulation - 1


def test_labels_that_are_names_are_left_out_and_said(bessemer: Run, tmp_path: Path) -> None:
    with np.load(IMAGES) as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    np.savez(tmp_path / "named.npz", images=images[:20], labels=np.array(["seven"] * 20))
    done = bessemer("convert", MODEL, "--to", "onnx", "--data", tmp_path / "named.npz", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = Evidence.model_validate_json(done.stdout).targets
    assert row.accuracy is None
    assert any("no class numbers" in note for note in row.notes)


RECIPE = """
[quantize]
precision = "int8"
method = "minmax"
level = 0

[[quantize.layers]]
match = "head"
activations = "int16"

[[quantize.layers]]
match = "block*/conv"
weights = "int4"
"""


def test_a_recipe_and_the_flags_that_spell_it_give_the_same_bytes(
    bessemer: Run, calibration: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mend.toml"
    recipe.write_text(RECIPE)
    common = ["convert", MODEL, "--calibration", calibration, "--json"]
    flags = ["--ranges", "minmax", "--quant-level", "0", "--layer", "head=a16", "--layer", "block*/conv=w4"]
    asked = ["--to", "tflite:int8", "--to", "ort:int8"], ["--to", "tflite", "--to", "ort"]
    spelled = bessemer(*common, *asked[0], *flags, "--out", "one")
    written = bessemer(*common, *asked[1], "--recipe", recipe, "--out", "two")
    assert (spelled.returncode, written.returncode) == (0, 0), spelled.stderr + written.stderr
    one, two = (Evidence.model_validate_json(done.stdout) for done in (spelled, written))
    assert [row.files[0].sha256 for row in one.targets] == [row.files[0].sha256 for row in two.targets]
    assert two.targets[0].operators["QUANTIZE"] == 2
    assert [row.precision for row in two.targets] == ["int8", "int8"]
    for row in two.targets:
        assert row.quantization is not None
        assert row.quantization.layers == ["head=a16", "block*/conv=w4"]
        assert [trial.method for trial in row.quantization.trials] == ["minmax"]
    inputs = {file.path: file.sha256 for file in two.manifest.inputs}
    assert inputs[str(recipe)] == hashlib.sha256(recipe.read_bytes()).hexdigest()
    assert str(calibration) in inputs


def test_the_command_line_wins_over_the_recipe(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mend.toml"
    recipe.write_text(RECIPE)
    more = ["--ranges", "mse", "--layer", "head=float", "--to", "tflite:int8,keep=stem*"]
    done = bessemer("convert", MODEL, "--calibration", calibration, "--json", "--recipe", recipe, *more)
    assert done.returncode == 0, done.stderr
    (row,) = Evidence.model_validate_json(done.stdout).targets
    assert row.quantization is not None
    assert {trial.method for trial in row.quantization.trials} == {"mse"}
    reasons = {item.reason for item in row.quantization.floats}
    assert {"kept by 'head'", "kept by 'stem*'"} <= reasons


def test_a_wrong_recipe_stops_before_anything_is_written(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mend.toml"
    recipe.write_text("[quantize]\nlevle = 1\n")
    done = bessemer("convert", MODEL, "--to", "onnx", "--calibration", calibration, "--recipe", recipe, "--out", "made")
    assert done.returncode == 2
    assert "Did you mean 'level'" in " ".join(done.stderr.split())
    assert not (tmp_path / "made").exists()


def scales_of(path: Path) -> np.ndarray:
    """Every scale that an artifact states, as its own runtime or file format reads it."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        details = Interpreter(str(path)).get_tensor_details()
        return np.concatenate([item["quantization_parameters"]["scales"] for item in details])
    import onnx

    graph = onnx.load(path).graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return np.concatenate([array.reshape(-1) for name, array in held.items() if "scale" in name])


def test_scales_are_powers_of_two_where_asked(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "shift.toml"
    recipe.write_text('[quantize]\nscales = "power-of-two"\n')
    targets = ["--to", "tflite:int8", "--to", "ort:int8", "--to", "onnx:int8", "--out", tmp_path / "out"]
    done = bessemer(
        "convert", MODEL, *targets, "--calibration", calibration, "--recipe", recipe, "--data", IMAGES, "--json"
    )
    assert done.returncode == 0, done.stderr
    for row in Evidence.model_validate_json(done.stdout).targets:
        assert row.quantization is not None
        assert row.accuracy is not None
        assert row.accuracy.artifact >= row.accuracy.original - 0.01
        assert row.quantization.emulation is not None
        assert row.quantization.artifact is not None
        assert row.quantization.emulation > 25
        assert row.quantization.artifact > row.quantization.emulation - 1
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".tflite", ".onnx"):
            scales = scales_of(path)
            assert scales.size > 10
            assert np.all(np.frexp(scales)[0] == 0.5), path


def test_compression_shrinks_the_file_and_says_what_it_chose(bessemer: Run, calibration: Path) -> None:
    common = ["convert", MODEL, "--calibration", calibration, "--data", IMAGES, "--ranges", "minmax", "--json"]
    targets = ["--to", "tflite:int8", "--to", "ort:int8", "--to", "onnx:int8", "--to", "onnx:int8,opset=13"]
    rows = []
    for level in ("0", "3"):
        done = bessemer(*common, *targets, "--compression", level, "--out", f"level{level}")
        assert done.returncode in (0, 3), done.stderr
        rows.append(Evidence.model_validate_json(done.stdout).targets)
    for plain, small in zip(rows[0][:3], rows[1][:3], strict=True):
        assert small.quantization is not None
        assert len(small.quantization.layers) == 2
        assert small.files[0].bytes < plain.files[0].bytes - 2000
        assert small.accuracy is not None
        assert small.accuracy.artifact >= small.accuracy.original - 0.01
    assert (rows[0][3].status, rows[1][3].status) == ("executed", "declined")
    assert {blocker.rule for blocker in rows[1][3].blockers} == {"qdq-opset"}
    assert all("INT4" in blocker.reason for blocker in rows[1][3].blockers)


def test_a_searched_mix_is_a_recipe_that_converts(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe, common = tmp_path / "mix.toml", ["--calibration", calibration, "--ranges", "minmax", "--quant-level", "0"]
    asked = ["--search", "bops", "--budget", "0.8", "--optimizer", "pareto"]
    done = bessemer("analyze", MODEL, *common, *asked, "--recipe-out", recipe, "--json")
    assert done.returncode == 0, done.stderr
    found = Search.model_validate_json(done.stdout)
    assert found.best.share <= 0.8
    assert {item.chosen for item in found.layers} >= {"a8_w4"}
    made = bessemer("convert", MODEL, "--to", "tflite", "--to", "ort", *common, "--recipe", recipe, "--json")
    assert made.returncode == 0, made.stderr
    for row in Evidence.model_validate_json(made.stdout).targets:
        assert row.quantization is not None
        assert row.quantization.trials[-1].snr > found.best.measured - 0.5, "equalization is decided anew"
        assert row.quantization.emulation is not None
        assert row.quantization.artifact is not None
        assert row.quantization.artifact > row.quantization.emulation - 1
    shown = bessemer("analyze", MODEL, *common, *asked)
    assert "predicted" in shown.stdout
    assert bessemer("analyze", MODEL, *common, "--budget", "0.8").returncode == 2


def test_python_takes_a_recipe_by_its_path(calibration: Path, tmp_path: Path) -> None:
    import bessemer as bm

    recipe = tmp_path / "mend.toml"
    recipe.write_text(RECIPE)
    made = bm.convert(MODEL, "tflite", tmp_path / "out", calibration=str(calibration), recipe=recipe)
    (row,) = made.targets
    assert row.verified
    assert row.quantization is not None
    assert row.quantization.layers == ["head=a16", "block*/conv=w4"]


CLIPS = """
[quantize]
weights_clipping = ["mmse", "Gemm=percentile:99.9"]
activation_clipping = ["Relu=percentile:99.9"]
recollect = true
"""


def test_clips_of_a_recipe_reach_both_runtimes(bessemer: Run, calibration: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "clips.toml"
    recipe.write_text(CLIPS)
    asked = ["convert", MODEL, "--to", "tflite:int8", "--to", "ort:int8", "--calibration", calibration, "--data", IMAGES]
    done, plain = bessemer(*asked, "--recipe", recipe, "--json", "--out", "clipped"), bessemer(*asked, "--json")
    assert (done.returncode, plain.returncode) == (0, 0), done.stderr
    clipped, other = (Evidence.model_validate_json(item.stdout) for item in (done, plain))
    for row, without in zip(clipped.targets, other.targets, strict=True):
        assert row.quantization is not None
        assert row.accuracy is not None
        assert row.quantization.artifact is not None
        assert row.quantization.emulation is not None
        assert row.quantization.artifact > row.quantization.emulation - 1
        assert row.accuracy.artifact >= row.accuracy.original - 0.01
        assert row.files[0].sha256 != without.files[0].sha256
    recipe.write_text('[quantize]\nweights_clipping = ["mmsee"]\n')
    wrong = bessemer(*asked, "--recipe", recipe)
    assert wrong.returncode == 2
    assert "does not say what to clip" in " ".join(wrong.stderr.split())


@pytest.mark.parametrize("target", ["tflite", "onnx", "ort"])
def test_activations_quantized_as_the_model_runs_have_both_baselines(
    bessemer: Run, calibration: Path, target: str
) -> None:
    done = bessemer("convert", MODEL, "--to", f"{target}:int8-dynamic", "--data", calibration, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = Evidence.model_validate_json(done.stdout).targets
    made = row.quantization
    assert made is not None
    assert made.emulation is not None
    assert made.artifact is not None
    assert made.runtime is not None
    assert 25 < made.emulation < 45
    assert abs(made.artifact - made.emulation) < 0.5
    assert made.runtime > 60, "the runtime rounds as the emulation says it does"


def bytes_with_threads(calibration: Path, out: str, threads: int, level: int) -> bytes:
    """The TFLite file that a process with so many threads writes."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, "-m", "bessemer.cli", "convert", str(MODEL), "--to", "tflite:int8", "--out", out]
    done = subprocess.run(
        [*command, "--calibration", str(calibration), "--quant-level", str(level)],
        cwd=calibration.parent, env={**os.environ, **dict.fromkeys(names, count)}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = (calibration.parent / out).glob("*.tflite")
    return file.read_bytes()


@pytest.mark.parametrize("level", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_threads_and_repetition_change_no_byte(tmp_path: Path, level: int) -> None:
    with np.load(IMAGES) as archive:
        images = next(archive[name] for name in archive.files if archive[name].ndim > 1)
    np.save(tmp_path / "some.npy", images[: 64 if level == 1 else 300])
    made = {
        bytes_with_threads(tmp_path / "some.npy", f"{name}-{level}", threads, level)
        for name, threads in (("one", 1), ("again", 1), ("four", 4))
    }
    assert len(made) == 1
