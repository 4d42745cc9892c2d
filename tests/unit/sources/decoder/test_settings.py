"""Settings of any kind for a decoder: a graph or a refusal, never a traceback, nor memory for what is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from tests.unit.sources.decoder import zoo

from bessemer.ir.errors import BessemerError, Declined, UnreadableInput, UsageError
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface import SOURCE

WRONG: tuple[Any, ...] = (0, -1, 10**9, 1.5, "32", None, [], {}, True, float("nan"), "x" * 50, 3, [1, 2])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for name in ("llama", "gpt2", "gemma2"):
        zoo.made(name, folder)
    return folder


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_wrong_settings_are_refused_or_mean_nothing(name: str, saved: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(saved / name, tmp_path / name))
    held = json.loads((place / "config.json").read_text())
    refused = 0
    for key in held:
        for value in WRONG:
            (place / "config.json").write_text(json.dumps({**held, key: value}))
            try:
                SOURCE.open(place, OpenOptions(graph="table"))
            except BessemerError:
                refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"vocab_size": 1000}, UnreadableInput, "has 99 rows, the settings ask for 1000"),
        ({"num_key_value_heads": 4}, UnreadableInput, "8 columns of a head turn, and it has 4"),
        ({"num_hidden_layers": 3}, Declined, "model.layers.2.self_attn.q_proj.weight'?: it is missing"),
        ({"architectures": ["LlamaForSurprise"]}, Declined, "LlamaForSurprise"),
    ],
)
def test_the_reason_is_told(
    settings: dict[str, Any], kind: type[BessemerError], said: str, saved: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(saved / "llama", tmp_path / "copy"))
    held = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**held, **settings}))
    with pytest.raises(kind, match=said):
        SOURCE.open(place, OpenOptions(graph="table"))


def test_a_table_has_its_tasks_and_inputs(saved: Path) -> None:
    with pytest.raises(UsageError, match="nothing for --task text-classification"):
        SOURCE.open(saved / "llama", OpenOptions(graph="table", task="text-classification"))
    with pytest.raises(UsageError, match="--shape pixels fits no input"):
        SOURCE.open(saved / "llama", OpenOptions(graph="table", shapes={"pixels": (1, 2)}))
    model = SOURCE.open(saved / "llama", OpenOptions(task="text-generation", shapes={"input_ids": (1, 4)}))
    assert [str(spec) for spec in model.signature.inputs] == [
        "input_ids: int64[1, 4]", "attention_mask: int64[1, 4]", "position_ids: int64[1, 4]",
    ]  # fmt: skip
    assert [spec.name for spec in model.signature.outputs] == ["logits"]
