"""The program as a user meets it: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bessemer.report.json import schema
from bessemer.verify.evidence import Evidence, ModelRecord, TargetEvidence

from .conftest import Run


def listing(folder: Path) -> list[str]:
    """Names of everything in a folder."""
    return sorted(item.name for item in folder.iterdir())


@pytest.mark.parametrize("target", ["onnx", "tflite", "onnx:opset=13"])
def test_convert_verifies_and_exits_0(bessemer: Run, convnet: Path, target: str) -> None:
    done = bessemer(
        "convert", convnet, "--to", target, "--out", "made", "--report", "r.html", "--report", "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert "✓ verified" in done.stdout
    assert done.stderr == ""
    evidence = Evidence.model_validate_json((convnet.parent / "r.json").read_text())
    made = convnet.parent / "made"
    assert listing(made) == [file.path for file in evidence.targets[0].files]
    assert "verified" in (convnet.parent / "r.html").read_text()
    assert listing(convnet.parent) == ["convnet.onnx", "made", "r.html", "r.json"]


def test_options_that_take_several_values(bessemer: Run, convnet: Path) -> None:
    done = bessemer("convert", convnet, "--to", "onnx:mixed,keep=Gemm*:Conv*", "--bound", "snr(30)", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = Evidence.model_validate_json(done.stdout).targets
    assert row.options["keep"] == "Gemm*:Conv*"


def test_convert_json_is_the_schema(bessemer: Run, convnet: Path) -> None:
    done = bessemer("convert", convnet, "--to", "onnx", "--to", "tflite:fp16", "--json")
    assert done.returncode == 0, done.stderr
    evidence = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(evidence) == set(json.loads(schema())["properties"])
    assert [row["target"] for row in evidence["targets"]] == ["onnx", "tflite"]
    assert all(row.verified for row in Evidence.model_validate(evidence).targets)


def test_a_decline_exits_3_and_writes_nothing(bessemer: Run, unrunnable: Path) -> None:
    done = bessemer("convert", unrunnable, "--to", "tflite", "--out", "made")
    assert done.returncode == 3, done.stderr
    assert "declined" in done.stdout
    assert "blocker" in done.stdout
    assert listing(unrunnable.parent) == ["words.onnx"]


def test_check_says_what_a_target_would_say(bessemer: Run, convnet: Path, unrunnable: Path) -> None:
    assert bessemer("check", convnet, "--to", "tflite", "--to", "onnx").returncode == 0
    done = bessemer("check", unrunnable, "--to", "tflite", "--json")
    assert done.returncode == 3
    (row,) = [TargetEvidence.model_validate(row) for row in json.loads(done.stdout)["targets"]]
    assert row.blockers
    assert all(blocker.reason and blocker.rule for blocker in row.blockers)
    assert listing(convnet.parent) == ["convnet.onnx", "words.onnx"]


def test_a_departure_exits_4_and_places_nothing(bessemer: Run, convnet: Path) -> None:
    done = bessemer("convert", convnet, "--to", "onnx:fp16", "--bound", "exact", "--out", "made")
    assert done.returncode == 4, done.stderr
    assert "failed" in done.stdout
    assert "verified" not in done.stdout
    assert listing(convnet.parent) == ["convnet.onnx"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.onnx", b"", "empty file"),
        ("a.onnx", b"PK\x03\x04 nothing more", "broken zip"),
        ("a.tflite", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("a.onnx", b"Once upon a time", "text file"),
    ],
)
def test_a_wrong_file_exits_5_and_is_named(
    bessemer: Run, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for command in (["convert", name, "--to", "onnx"], ["inspect", name], ["run", name]):
        done = bessemer(*command)
        assert done.returncode == 5, done.stderr
        assert said in done.stderr
        assert name in done.stderr
        assert "Traceback" not in done.stderr
    assert listing(tmp_path) == [name]


def test_a_truncated_model_exits_5(bessemer: Run, convnet: Path) -> None:
    convnet.write_bytes(convnet.read_bytes()[:-700])
    done = bessemer("convert", convnet, "--to", "onnx")
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.onnx", "--to", "onnx"], "no file missing.onnx"),
        (["convnet.onnx", "--to", "tfite"], "Did you mean 'tflite'"),
        (["convnet.onnx", "--to", "onnx:opste=12"], "Did you mean 'opset'"),
        (["convnet.onnx", "--to", "onnx:foo=1"], "There is no such option"),
        (["convnet.onnx", "--to", "onnx", "--out", "convnet.onnx"], "is a file"),
        (["convnet.onnx", "--to", "onnx", "--shape", "wrong=1x3x16x16"], "wrong"),
        (["convnet.onnx", "--to", "onnx", "--data", "missing.npz"], "missing.npz"),
    ],
)
def test_wrong_usage_exits_2(bessemer: Run, convnet: Path, arguments: list[str], said: str) -> None:
    done = bessemer("convert", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert listing(convnet.parent) == ["convnet.onnx"]


def test_inspect(bessemer: Run, convnet: Path) -> None:
    done = bessemer("inspect", convnet, "--shape", "image=1x3x16x16", "--json")
    record = ModelRecord.model_validate_json(done.stdout)
    assert record.operators == {
        "Add": 1,
        "Conv": 2,
        "Flatten": 1,
        "Gemm": 1,
        "GlobalAveragePool": 1,
        "Relu": 1,
    }
    assert record.parameters == 8 * 3 * 9 + 8 + 8 * 8 * 9 + 40 + 5
    assert record.macs == 64 * 8 * 27 + 64 * 8 * 72 + 40
    assert "image" in bessemer("inspect", convnet).stdout


def test_verify_and_compare(bessemer: Run, convnet: Path) -> None:
    assert bessemer("convert", convnet, "--to", "tflite", "--out", "made").returncode == 0
    artifact = convnet.parent / "made" / "convnet.tflite"
    assert bessemer("verify", artifact, "--against", convnet).returncode == 0
    assert bessemer("verify", artifact, "--against", convnet, "--bound", "snr(500)").returncode == 4
    done = bessemer("compare", convnet, artifact, "--json")
    assert TargetEvidence.model_validate_json(done.stdout).verified


def test_an_ort_file_is_run_where_it_belongs(bessemer: Run, convnet: Path) -> None:
    assert bessemer("convert", convnet, "--to", "ort:format=ort", "--out", "made").returncode == 0
    artifact = convnet.parent / "made" / "convnet.ort"
    done = bessemer("verify", artifact, "--against", convnet, "--json")
    assert done.returncode == 0, done.stderr
    row = TargetEvidence.model_validate_json(done.stdout)
    assert row.verified
    assert row.runtime.startswith("ONNX Runtime")
    assert bessemer("compare", artifact, convnet).returncode == 0
    done = bessemer("run", artifact, "--shape", "image=2x3x16x16", "--json")
    assert {tuple(item["scores"]["shape"]) for item in json.loads(done.stdout)["sets"]} == {(2, 5)}
    assert bessemer("run", artifact, "--shape", "image=2x4x16x16").returncode == 2
    cut = convnet.parent / "cut.ort"
    cut.write_bytes(artifact.read_bytes()[:200])
    done = bessemer("verify", cut, "--against", convnet)
    assert done.returncode == 4
    assert "ONNX Runtime refuses cut.ort" in done.stderr


def test_run_answers_like_onnxruntime(bessemer: Run, convnet: Path) -> None:
    import onnxruntime

    image = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
    np.save(convnet.parent / "image.npy", image)
    done = bessemer("run", convnet, "--data", "image.npy", "--save", "answer.npz", "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads(done.stdout)["sets"]
    assert summary["scores"]["shape"] == [4, 5]
    (expected,) = onnxruntime.InferenceSession(convnet).run(None, {"image": image})
    with np.load(convnet.parent / "answer.npz") as answer:
        np.testing.assert_allclose(answer["scores"], expected, rtol=1e-5, atol=1e-6)


def test_run_and_compare_heed_shapes(bessemer: Run, convnet: Path) -> None:
    done = bessemer("run", convnet, "--shape", "image=3x3x16x16", "--json")
    assert {tuple(item["scores"]["shape"]) for item in json.loads(done.stdout)["sets"]} == {(3, 5)}
    done = bessemer("compare", convnet, convnet, "--shape", "image=3x3x16x16", "--json")
    sets = TargetEvidence.model_validate_json(done.stdout).input_sets
    assert all("3x3x16x16" in line for line in sets)


def test_accuracy_on_labelled_data(bessemer: Run, convnet: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((20, 3, 16, 16), np.float32), rng.integers(0, 5, 20)
    np.savez(convnet.parent / "data.npz", image=images, labels=labels)
    done = bessemer("convert", convnet, "--to", "onnx", "--data", "data.npz", "--json")
    (row,) = Evidence.model_validate_json(done.stdout).targets
    assert row.accuracy is not None
    assert row.accuracy.samples == 20
    assert row.accuracy.original == row.accuracy.artifact


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing(convnet: Path, number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "bessemer.cli",
        "convert",
        "convnet.onnx",
        "--to",
        "onnx",
        "--out",
        "made",
    ]
    process = subprocess.Popen(
        command, cwd=convnet.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    begin = time.monotonic()
    while len(listing(convnet.parent)) == 1 and process.poll() is None and time.monotonic() - begin < 60:
        time.sleep(0.005)
    if process.poll() is None:
        os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the conversion was faster than the interrupt")
    assert process.returncode == 128 + number, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert listing(convnet.parent) == ["convnet.onnx"]


def test_a_terminal_gets_colours_and_a_pipe_none(bessemer: Run, convnet: Path) -> None:
    assert "\x1b" not in bessemer("inspect", convnet).stdout


@pytest.mark.slow
def test_conformance_of_chosen_cases(bessemer: Run) -> None:
    done = bessemer("conformance", "--target", "tflite", "test_relu", "test_sigmoid", "--jobs", "1", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["counts"] == {"verified": 2}
    assert bessemer("conformance", "--target", "tflite", "no_such_test").returncode == 2
