"""How targets are spelled after --to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.ir.errors import UsageError
from bessemer.script.target_spec import PRECISIONS, TargetSpec, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onnx", TargetSpec("onnx")),
        ("onnx:", TargetSpec("onnx")),
        ("onnx:fp16", TargetSpec("onnx", {"precision": "float16"})),
        ("onnx:BF16", TargetSpec("onnx", {"precision": "bfloat16"})),
        ("onnx:opset=12,precision=float16", TargetSpec("onnx", {"opset": "12", "precision": "float16"})),
        ("onnx:precision=fp16", TargetSpec("onnx", {"precision": "float16"})),
        ("tflite:float16, io=nhwc", TargetSpec("tflite", {"precision": "float16", "io": "nhwc"})),
        ("ort:format=ort,level=all", TargetSpec("ort", {"format": "ort", "level": "all"})),
        ("onnx:external-data=always", TargetSpec("onnx", {"external_data": "always"})),
        ("onnx:keep=/head/MatMul:/a=b", TargetSpec("onnx", {"keep": "/head/MatMul:/a=b"})),
    ],
)
def test_spellings(text: str, expected: TargetSpec) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no target"),
        (":fp16", "names no target"),
        ("on nx", "names no target"),
        ("onnx:flota16", "Did you mean 'float16'"),
        ("onnx:opset", "neither a precision nor key=value"),
        ("onnx:opset=", "without a value"),
        ("onnx:=12", "without a name"),
        ("onnx:fp16,precision=float32", "says precision twice"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse(text)
    except UsageError:
        return
    assert spec.name
    assert all(spec.options.values())
    assert "precision" not in spec.options or spec.options["precision"]


@given(
    st.sampled_from(sorted(PRECISIONS)),
    st.dictionaries(st.from_regex(r"\A[a-z_]{1,9}\Z"), st.integers(0, 99)),
)
def test_parse_undoes_spelling(word: str, options: dict[str, int]) -> None:
    options.pop("precision", None)
    text = "onnx:" + ",".join([word, *(f"{key}={value}" for key, value in options.items())])
    expected = {"precision": PRECISIONS[word]} | {key: str(value) for key, value in options.items()}
    assert parse(text).options == expected
