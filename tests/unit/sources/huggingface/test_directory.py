"""What lies in a model directory, told without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.sources.huggingface.directory import (
    companions_of,
    foreign_model,
    looks_like,
    read_json,
    weights_of,
)
from bessemer.sources.sniff import identify


def filled(folder: Path, *names: str, text: str = "{}") -> Path:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def index(folder: Path, places: object) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def test_one_file_of_weights_is_preferred_to_shards_and_safetensors_to_bin(tmp_path: Path) -> None:
    filled(tmp_path, "pytorch_model.bin")
    assert weights_of(tmp_path).kind == "bin"  # type: ignore[union-attr]
    names = {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"}
    index(filled(tmp_path, *names.values()), names)
    shards = weights_of(tmp_path)
    assert shards is not None and [file.name for file in shards.files] == ["a.safetensors", "b.safetensors"]
    assert shards.kind == "safetensors" and shards.places is not None and shards.places["z"].name == "b.safetensors"
    filled(tmp_path, "model.safetensors")
    assert [file.name for file in weights_of(tmp_path).files] == ["model.safetensors"]  # type: ignore[union-attr]


def test_a_directory_without_weights_has_none(tmp_path: Path) -> None:
    assert weights_of(filled(tmp_path, "config.json", "tokenizer.json")) is None


@pytest.mark.parametrize("place", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors"])
def test_an_index_that_leads_out_of_its_directory_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(UnreadableInput, match="leads out"):
        weights_of(index(tmp_path, {"x": place}))


@pytest.mark.parametrize("places", [[], {}, {"x": 3}, None])
def test_an_index_without_places_is_refused(tmp_path: Path, places: object) -> None:
    with pytest.raises(UnreadableInput, match="weight_map"):
        weights_of(index(tmp_path, places))


def test_missing_shards_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"lacks 2 of its weight files \(at a.safetensors, b.safetensors\)"):
        weights_of(index(tmp_path, {"x": "a.safetensors", "y": "b.safetensors"}))


def test_links_may_lead_into_the_cache_of_blobs_and_nowhere_else(tmp_path: Path) -> None:
    secret = filled(tmp_path, "secret").joinpath("secret")
    home = filled(tmp_path / "models" / "snapshots" / "main", "config.json")
    blob = filled(tmp_path / "models" / "blobs", "1234").joinpath("1234")
    (home / "tokenizer.json").symlink_to(blob)
    assert [path.name for path in companions_of(home)] == ["config.json", "tokenizer.json"]
    (home / "vocab.txt").symlink_to(secret)
    with pytest.raises(UnreadableInput, match="link that leads out"):
        companions_of(home)


def test_companions_are_settings_and_tokenizers_not_weights(tmp_path: Path) -> None:
    names = ("tokenizer.json", "tokenizer_config.json", "merges.txt", "preprocessor_config.json", "spiece.model")
    filled(tmp_path, *names, "config.json", "model.safetensors", "README.md", "training_args.bin")
    assert {path.name for path in companions_of(tmp_path)} == {*names, "config.json"}


@pytest.mark.parametrize(
    ("names", "chosen", "title"),
    [
        (("model.onnx", "other.onnx", "a.tflite"), "model.onnx", "ONNX"),
        (("onnx/model.onnx", "a.tflite"), "onnx/model.onnx", "ONNX"),
        (("onnx/decoder.onnx",), "onnx/decoder.onnx", "ONNX"),
        (("a.tflite", "tf_model.h5"), "a.tflite", "TFLite"),
        (("tf_model.h5",), "tf_model.h5", "Keras"),
    ],
)
def test_other_formats_have_an_order(tmp_path: Path, names: tuple[str, ...], chosen: str, title: str) -> None:
    found = foreign_model(filled(tmp_path, *names))
    assert found is not None
    assert (found[0].relative_to(tmp_path).as_posix(), found[1]) == (chosen, title)


def test_several_models_of_one_format_are_a_question(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"several ONNX models: decoder.onnx, encoder.onnx"):
        foreign_model(filled(tmp_path, "encoder.onnx", "decoder.onnx"))


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '"a"', "\udcff", "[" * 200_000, '{"a":' * 100 + "1" + "}" * 100])
def test_settings_that_are_no_plain_object_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UnreadableInput):
        read_json(tmp_path, "config.json")


def test_directories_are_recognised(tmp_path: Path) -> None:
    assert identify(filled(tmp_path / "a", "config.json")).name == "huggingface"
    assert identify(filled(tmp_path / "b", "onnx/model.onnx")).name == "huggingface"
    assert not looks_like(("readme.md", "photo.png"))
    with pytest.raises(UnreadableInput, match="is a directory"):
        identify(filled(tmp_path / "c", "photo.png"))


def onnx_directory(folder: Path, tokenizer: str) -> Path:
    """A directory as model hubs hold them: an ONNX file in a folder of its own, a tokenizer and settings."""
    import onnx
    from onnx import TensorProto, helper

    shape = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")}
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [shape["x"]], [shape["y"]])
    (folder / "onnx").mkdir(parents=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(proto, folder / "onnx/model.onnx")
    filled(folder, "config.json")
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def test_what_goes_along_is_placed_beside_the_artifact_and_listed(tmp_path: Path) -> None:
    import bessemer as bm
    from bessemer.workspace import sha256_of

    source, out = onnx_directory(tmp_path / "model.v2", '{"a": 1}'), tmp_path / "out"
    row = bm.convert(source, to="onnx", out=out).targets[0]
    assert row.verified, row.summary
    assert [file.path for file in row.files] == ["model.v2.onnx", "config.json", "tokenizer.json"]
    assert (out / "tokenizer.json").read_text() == '{"a": 1}'
    assert row.files[2].sha256 == sha256_of(source / "tokenizer.json")
    assert "holds no weights for transformers: its ONNX file onnx/model.onnx was used" in row.notes[0]
    assert bm.convert(source, to="onnx", out=out).targets[0].verified  # the same files may be placed again
    made = bm.compile(bm.load(source), "onnx", out=tmp_path / "compiled")
    assert [file.name for file in made.files] == ["model.onnx", "config.json", "tokenizer.json"]
    other = onnx_directory(tmp_path / "other", '{"b": 2}')
    with pytest.raises(UsageError, match=r"holds tokenizer\.json of another model"):
        bm.convert(other, to="onnx", out=out)
    assert (out / "tokenizer.json").read_text() == '{"a": 1}'


def test_a_task_means_nothing_for_a_file_that_says_what_it_computes(tmp_path: Path) -> None:
    import bessemer as bm

    with pytest.raises(UsageError, match="fill-mask has no meaning for"):
        bm.load(onnx_directory(tmp_path / "m", "{}"), task="fill-mask")


def test_a_directory_of_another_format_warms_that_formats_runtime(tmp_path: Path) -> None:
    from bessemer.sources.sniff import warm_modules

    assert "onnxruntime" in warm_modules(onnx_directory(tmp_path / "m", "{}"))
    weighty = filled(onnx_directory(tmp_path / "n", "{}"), "model.safetensors")
    assert "transformers" in warm_modules(weighty)
