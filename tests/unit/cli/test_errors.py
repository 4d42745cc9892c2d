"""Mistakes become one paragraph and an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bessemer.cli import main as program
from bessemer.cli import output
from bessemer.ir.errors import (
    Blocker,
    Declined,
    MissingExtra,
    UnreadableInput,
    UsageError,
    VerificationFailed,
)

Raise = Callable[[BaseException], None]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Make `bessemer doctor` raise."""

    def arrange(error: BaseException) -> None:
        def command(json: bool = False) -> None:
            """Fail."""
            raise error

        monkeypatch.setattr(program, "import_module", lambda _: SimpleNamespace(command=command))

    return arrange


def invoke(*arguments: str) -> Any:
    """The program's answer."""
    return CliRunner().invoke(program.app, list(arguments))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("No such thing", fix="Try another"), 2),
        (Declined("tflite", [Blocker("n", "Op", "rule", "reason", "layer", "rewrite")]), 3),
        (VerificationFailed("It departed"), 4),
        (UnreadableInput("Broken", where="offset 12", why="a length is too long"), 5),
        (MissingExtra("onnxruntime", extra="ort", needed_for="Running"), 6),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 5),
        (RecursionError(), 5),
        (OSError(28, "No space left on device", "out/x"), 1),
    ],
)
def test_each_has_its_exit_code(raising: Raise, error: BaseException, code: int) -> None:
    raising(error)
    answer = invoke("doctor")
    assert answer.exit_code == code
    assert answer.stdout == ""
    assert answer.stderr.startswith("bessemer: ")
    assert "Traceback" not in answer.stderr


def test_an_error_names_where_why_and_what_to_do(raising: Raise) -> None:
    raising(
        UnreadableInput(
            "x.onnx is broken", where="offset 12", why="a length is too long", fix="Fetch it again"
        )
    )
    said = invoke("doctor").stderr
    assert said == "bessemer: x.onnx is broken (at offset 12). a length is too long. Fetch it again.\n"


def test_json_carries_the_error_too(raising: Raise) -> None:
    raising(Declined("tflite", [Blocker("n", "Op", "rule", "reason", "layer", "rewrite")]))
    answer = invoke("doctor", "--json")
    error = json.loads(answer.stdout)["error"]
    assert (answer.exit_code, error["exit_code"], error["kind"]) == (3, 3, "Declined")
    assert error["blockers"][0]["layer"] == "layer"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["convert"],
        ["convert", "x.onnx"],
        ["convert", "x.onnx", "--to", "onnx", "--no-verify"],
        ["convert", "x.onnx", "--to", "onnx", "--level", "9"],
        ["convert", "x.onnx", "--to", "onnx", "--shape", "x"],
        ["convert", "x.onnx", "--to", "onnx", "--to", "onnx"],
        ["convert", "x.onnx", "--to", "onnx", "--bound", "near"],
        ["convert", "x.onnx", "--to", "onnx", "--report", "report.doc"],
        ["convert", "x.onnx", "--to", "onnx", "--labels", "y.npy"],
        ["convert", "x.onnx", "--to", "onnx", "--preprocess", "resize=x"],
        ["run", "x.onnx", "--save", "out.txt"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    answer = invoke(*arguments)
    assert answer.exit_code == 2
    assert "Traceback" not in answer.stderr


def test_a_misspelt_command_gets_the_nearest() -> None:
    assert "Did you mean 'convert'" in invoke("conver").stderr


def test_version() -> None:
    assert invoke("--version").stdout.startswith("bessemer 0.")


def test_json_has_no_infinities(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_json({"a": [float("inf"), 1.0, (float("nan"),)]})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.0, [None]]}


def test_reports_are_refused_before_work(tmp_path: Path) -> None:
    assert output.report_kind(Path("a.HTML")) == "html"
    assert output.report_kind(Path("a.json")) == "json"
    with pytest.raises(UsageError):
        output.report_kind(Path("a.pdf"))
    (tmp_path / "a.html").mkdir()
    with pytest.raises(UsageError, match="directory"):
        output.report_kind(tmp_path / "a.html")


def test_lists_agree_with_their_json() -> None:
    for name in ("formats", "targets"):
        rows = json.loads(invoke(name, "--json").stdout)[name]
        text = invoke(name).stdout
        assert rows
        assert all(row["name"] in text for row in rows)


def test_doctor_knows_the_runtimes() -> None:
    found = json.loads(invoke("doctor", "--json").stdout)
    assert found["base"]["numpy"]
    assert set(found["extras"]) == {
        "ort", "tflite", "images", "train", "torch", "hf", "gguf", "tensorflow", "llama.cpp",
    }  # fmt: skip
    assert "onnxruntime" in invoke("doctor").stdout


def test_doctor_lists_llama_cpp_or_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libllama.so.0.5.1").touch()
    monkeypatch.setenv("BESSEMER_LLAMA_CPP", str(tmp_path))
    assert json.loads(invoke("doctor", "--json").stdout)["extras"]["llama.cpp"]["version"] == "0.5.1"
    monkeypatch.setattr("bessemer.runners.llama.available", lambda: False)
    said = " ".join(invoke("doctor").stdout.split())
    assert "llama.cpp missing runs GGUF models: Run scripts/llama_runtime.py" in said


def test_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from bessemer.cli import listing

    monkeypatch.setitem(listing.EXTRAS, "ort", ("no-such-package-here", "runs ONNX models"))
    answer = invoke("doctor")
    assert answer.exit_code == 0
    assert "pip install 'bessemer[ort]'" in " ".join(answer.stdout.split())
