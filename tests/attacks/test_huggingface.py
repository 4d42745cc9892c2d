"""Hostile settings beside good weights: every value of config.json, replaced by what it should never be."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("safetensors")

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bessemer.ir.errors import BessemerError
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface import SOURCE, _planned

HOSTILE: tuple[Any, ...] = (
    10**12, -1, 0, 1.5, 1e300, "x" * 10_000, [], [[]], {}, {"a": {"a": 1}}, True, [10**9] * 50, "../../etc/passwd", [None],
)  # fmt: skip
SMALL = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 16, "image_size": 8, "patch_size": 4, "num_key_value_heads": 1,
}  # fmt: skip
SECONDS, KIBIBYTES = 5.0, 1 << 20


@pytest.fixture(scope="module", params=["BertForSequenceClassification", "LlamaForCausalLM", "ViTForImageClassification"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    kind = getattr(transformers, request.param)
    folder = tmp_path_factory.mktemp("hostile")
    kind(kind.config_class(**SMALL)).save_pretrained(folder)
    _planned(folder, OpenOptions())
    return folder


def cases(held: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in sorted({*held, "attn_implementation", "quantization_config", "rope_parameters", "num_labels", "id2label"}):
        for value in HOSTILE:
            yield f"{key}={str(value)[:20]}", {**held, key: value}


def test_hostile_settings_end_in_a_reason_within_bounds(directory: Path) -> None:
    config = directory / "config.json"
    held = json.loads(config.read_text())
    before, slow, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], 0
    for name, settings in cases(held):
        config.write_text(json.dumps(settings))
        start = time.process_time()
        try:
            _planned(directory, OpenOptions())
        except BessemerError as error:
            assert error.exit_code in (2, 3, 5, 6), name
            refused += 1
        slow += [name] if time.process_time() - start > SECONDS else []
    config.write_text(json.dumps(held))
    assert not slow
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KIBIBYTES
    assert refused > len(held) * 3, "most of these values cannot be meant"


@pytest.mark.parametrize(
    "text", ["{}", '{"model_type": "bert"}', "[" * 100_000, '{"model_type": "bert", "num_labels": 1e999}']
)
def test_settings_without_sense(directory: Path, text: str) -> None:
    config = directory / "config.json"
    held = config.read_text()
    config.write_text(text)
    try:
        with pytest.raises(BessemerError):
            SOURCE.open(directory, OpenOptions())
    finally:
        config.write_text(held)
