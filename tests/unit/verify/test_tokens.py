"""Token arrays and lists: padded to the model's length, with what was not given made up by a stated rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.verify.data import Request, UserData, load

NAMES = ("input_ids", "attention_mask", "token_type_ids")


def bert(length: int | str, names: tuple[str, ...] = NAMES, dtype: str = "int64") -> Signature:
    return Signature(tuple(TensorSpec(name, dtype, ("N", length)) for name in names), ())


def lines(path: Path, *items: object) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return path


def only(found: UserData) -> dict[str, list[list[int]]]:
    (item,) = found.sets
    return {name: array.tolist() for name, array in item.arrays.items()}


def test_lists_are_padded_to_the_models_length_with_a_mask(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [101, 7, 102], {"input_ids": [101, 102], "token_type_ids": [0, 1]}, list(range(1, 8)))
    found = load(Request(file), bert(5))
    got = only(found)
    assert got["input_ids"] == [[101, 7, 102, 0, 0], [101, 102, 0, 0, 0], [1, 2, 3, 4, 5]]
    assert got["attention_mask"] == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert got["token_type_ids"] == [[0] * 5, [0, 1, 0, 0, 0], [0] * 5]
    assert found.sets[0].arrays["input_ids"].dtype == np.int64
    said = "1 of 3 samples are longer than the model's 5 tokens and were cut"
    assert found.notes == ("tokens are padded with 0 to 5", said)


def test_an_open_length_is_that_of_the_longest_of_a_run(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [1, 2, 3], [4])
    assert only(load(Request(file), bert("T")))["attention_mask"] == [[1, 1, 1], [1, 0, 0]]
    single = Signature(tuple(TensorSpec(name, "int64", (1, "T")) for name in NAMES), ())
    assert [item.arrays["input_ids"].shape for item in load(Request(file), single).sets] == [(1, 3), (1, 1)]


@pytest.mark.parametrize(
    "names",
    [
        ("input_word_ids", "input_mask", "input_type_ids"),
        ("serving_default_input_ids:0", "serving_default_attention_mask:0", "serving_default_token_type_ids:0"),
        ("input_ids_1", "attention_mask_1", "segment_ids"),
    ],
)
def test_inputs_are_known_by_their_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = lines(tmp_path / "a.jsonl", {"input_ids": [5, 6], "attention_mask": [1, 0]})
    (item,) = load(Request(file), bert(3, names, "int32")).sets
    ids, mask, types = (item.arrays[name] for name in names)
    assert (ids.tolist(), mask.tolist(), types.tolist()) == ([[5, 6, 0]], [[1, 0, 0]], [[0, 0, 0]])
    assert ids.dtype == np.int32


def test_arrays_with_and_without_a_mask(tmp_path: Path) -> None:
    ids = np.array([[101, 0, 102, 0], [101, 102, 0, 0]])
    np.savez(tmp_path / "a.npz", input_ids=ids)
    found = load(Request(tmp_path / "a.npz"), bert(6))
    got = only(found)
    assert got["input_ids"] == [[101, 0, 102, 0, 0, 0], [101, 102, 0, 0, 0, 0]]
    assert got["attention_mask"] == [[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert any("'attention_mask' was not given: 1 up to the last token that is not 0" in note for note in found.notes)
    assert any("brought to 6 by padding" in note for note in found.notes)
    np.savez(tmp_path / "a.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    whole = load(Request(tmp_path / "a.npz"), bert(4))
    assert only(whole)["attention_mask"] == [[1] * 4] * 2
    assert whole.notes == ()
    np.save(tmp_path / "b.npy", ids)
    assert only(load(Request(tmp_path / "b.npy"), bert(3)))["input_ids"] == [[101, 0, 102], [101, 102, 0]]


def test_positions_count(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [7, 8])
    got = only(load(Request(file), bert(4, ("input_ids", "position_ids"))))
    assert got["position_ids"] == [[0, 1, 2, 3]]


def test_one_input_of_any_name_takes_ids_and_labels_come_along(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"input_ids": [5], "label": 2}, {"input_ids": [6], "label": 0})
    (item,) = load(Request(file), bert(2, ("text",))).sets
    assert item.arrays["text"].tolist() == [[5, 0], [6, 0]]
    assert item.labels is not None
    assert item.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", UsageError, "holds no line"),
        ("[1, 2]\n[1, ", UnreadableInput, "sample 2 is no JSON"),
        ('{"text": "hello"}', UsageError, "sample 1 holds no token ids"),
        ("[1, 2.5]", UsageError, "are no list of whole numbers"),
        ('{"input_ids": [1, 2], "attention_mask": [1]}', UsageError, "has 1 mask for 2 tokens"),
        ("[" * 100_000, UnreadableInput, "is no JSON"),
    ],
)
def test_broken_lists_are_named(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(error, match=said):
        load(Request(tmp_path / "a.jsonl"), bert(4))


def test_inputs_that_tokens_do_not_fill(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [1, 2])
    signature = Signature((*bert(4).inputs, TensorSpec("image", "float32", (1, 3, 8, 8))), ())
    with pytest.raises(UsageError, match=r"image: float32\[1, 3, 8, 8\] is named like no ids, mask"):
        load(Request(file), signature)


def test_a_dataset_that_datasets_saved(tmp_path: Path) -> None:
    """Written as `Dataset.save_to_disk` writes it: Arrow streams and state.json."""
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"input_ids": [[1, 2, 3], [4]], "attention_mask": [[1, 1, 1], [1]], "label": [1, 0]})
    file = tmp_path / "data-00000-of-00001.arrow"
    with arrow.OSFile(str(file), "wb") as sink, arrow.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))
    found = load(Request(tmp_path), bert(4))
    assert only(found)["attention_mask"] == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert found.sets[0].labels is not None
    assert found.sets[0].labels.tolist() == [1, 0]
