"""How embedding models pool, from sentence-transformers' files to GGUF and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.architectures.base import find
from bessemer.architectures.pooling import files
from bessemer.ir.errors import Declined
from bessemer.opening import open_checkpoint
from bessemer.runners import llama
from bessemer.sources.base import OpenOptions

from .others import CASES, TOKENS, answers, gguf, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(CASES["bert"], tmp_path)
    return tmp_path


def said(folder: Path, modules: Any, pooling: dict[str, Any]) -> None:
    """As sentence-transformers saves it."""
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def module(kind: str, path: str) -> dict[str, Any]:
    return {"idx": 0, "name": path, "path": path, "type": f"sentence_transformers.models.{kind}"}


MODULES = [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")]


@pytest.mark.parametrize(
    ("pooling", "number", "mode"),
    [
        ({"pooling_mode_mean_tokens": True}, 1, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, 2, "cls"),
        ({"pooling_mode": "lasttoken"}, 3, "lasttoken"),
        ({}, 1, "mean"),
    ],
)
def test_there_and_back(folder: Path, pooling: dict[str, Any], number: int, mode: str, tmp_path: Path) -> None:
    said(folder, MODULES, pooling)
    found = open_checkpoint(folder, OpenOptions())
    metadata, tensors = find(found.config).to_gguf(found)
    assert metadata["bert.pooling_type"] == number
    back, _ = find(found.config).from_gguf(metadata, tensors)
    written = files(back)
    assert [item["path"] for item in written["modules.json"]] == ["", "1_Pooling"]
    flags = written["1_Pooling/config.json"]
    assert [name for name, flag in flags.items() if flag is True] == [
        {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "lasttoken": "pooling_mode_lasttoken"}[mode]
    ]


@pytest.mark.parametrize(
    ("modules", "pooling", "why"),
    [
        (MODULES, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "mean and max"),
        (MODULES, {"pooling_mode_max_tokens": True}, "max"),
        ([*MODULES, module("Dense", "3_Dense")], {"pooling_mode_mean_tokens": True}, "Dense"),
    ],
)
def test_what_gguf_cannot_pool_is_declined(folder: Path, modules: Any, pooling: dict[str, Any], why: str) -> None:
    said(folder, modules, pooling)
    found = open_checkpoint(folder, OpenOptions())
    with pytest.raises(Declined, match=why):
        find(found.config).to_gguf(found)


def test_without_modules_nothing_is_said(folder: Path) -> None:
    found = open_checkpoint(folder, OpenOptions())
    assert "bert.pooling_type" not in find(found.config).to_gguf(found)[0]
    assert files(found.config) == {}


@pytest.mark.skipif(not llama.available(), reason="llama.cpp is not installed")
def test_llama_cpp_pools_alike(folder: Path) -> None:
    wanted = answers(CASES["bert"], folder).mean(0)
    said(folder, MODULES, {"pooling_mode_mean_tokens": True})
    found = open_checkpoint(folder, OpenOptions())
    path = gguf(*find(found.config).to_gguf(found), folder / "model.gguf")
    with llama.Llama(path, threads=2) as model:
        answer = model.embeddings(TOKENS, pooled=True)
    assert answer.shape == wanted.shape
    assert np.abs(answer - wanted).max() < 1e-2 * wanted.std()
