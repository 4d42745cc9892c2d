"""Directories that are broken, hostile or not meant for the task: refused with the reason, before memory is taken."""

from __future__ import annotations

import json
import pickle
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from bessemer.ir.errors import BessemerError, Declined, UnreadableInput, UsageError
from bessemer.sources.base import OpenOptions
from bessemer.sources.huggingface import SOURCE

Tiny = Callable[[str], Path]


def changed(directory: Path, out: Path, **settings: Any) -> Path:
    """A copy with other settings; None takes one away."""
    place = Path(shutil.copytree(directory, out / "copy"))
    held = json.loads((place / "config.json").read_text())
    held = {key: value for key, value in {**held, **settings}.items() if value is not None}
    (place / "config.json").write_text(json.dumps(held))
    return place


def refusal(path: Path, **options: Any) -> BessemerError:
    with pytest.raises(BessemerError) as caught:
        SOURCE.open(path, OpenOptions(**options))
    return caught.value


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"hidden_size": 10**6, "num_attention_heads": 10}, UnreadableInput, "more parameters than"),
        ({"vocab_size": 10**12}, UnreadableInput, "more parameters than"),
        ({"num_hidden_layers": 10**9}, UnreadableInput, "asks for 1e.09 of 'num_hidden_layers'"),
        ({"num_hidden_layers": 90_000}, UnreadableInput, "more parameters than"),
        ({"num_labels": 10**9}, UnreadableInput, "'num_labels'"),
        ({"num_hidden_layers": 3}, UsageError, "16 of its tensors are missing"),
        ({"vocab_size": 98}, UnreadableInput, "do not make a BertForSequenceClassification"),
        ({"hidden_size": "32"}, UnreadableInput, "cannot be meant for 'bert'"),
        ({"num_attention_heads": 0}, UnreadableInput, "do not make a|cannot be meant"),
        ({"hidden_act": "__import__('os').system('id')"}, UnreadableInput, "do not make a|cannot be meant"),
        ({"model_type": 7}, UnreadableInput, "names no architecture"),
        ({"model_type": None}, UnreadableInput, "names no architecture"),
        ({"architectures": ["BertForMultipleSurprise"]}, Declined, "no task is known"),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_weights(
    settings: dict[str, Any], kind: type[BessemerError], said: str, tiny: Tiny, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(changed(tiny("bert"), tmp_path, **settings))
    assert isinstance(error, kind)
    assert re.search(said, str(error)), str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10, "memory was taken first"


def test_code_of_a_directory_is_never_run(tiny: Tiny, tmp_path: Path) -> None:
    own = {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}}
    place = changed(tiny("bert"), tmp_path, **own)
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('ran')\n")
    assert SOURCE.open(place, OpenOptions()).origin.details["architecture"] == "BertForSequenceClassification"
    held = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**held, "model_type": "evil"}))
    error = refusal(place)
    assert isinstance(error, Declined) and error.blockers[0].rule == "remote-code"
    assert not (tmp_path / "ran").exists()


def test_packed_weights_are_declined(tiny: Tiny, tmp_path: Path) -> None:
    error = refusal(changed(tiny("bert"), tmp_path, quantization_config={"quant_method": "gptq", "bits": 4}))
    assert isinstance(error, Declined) and "packed by 'gptq'" in error.blockers[0].reason


def test_a_head_that_was_not_trained_is_not_drawn_at_random(tiny: Tiny) -> None:
    error = refusal(tiny("bert"), task="fill-mask")
    assert isinstance(error, UsageError) and "cls.predictions" in str(error)


def test_an_unknown_task_lists_those_that_fit(tiny: Tiny) -> None:
    error = refusal(tiny("llama"), task="image-classification")
    assert isinstance(error, UsageError)
    assert "text-generation-with-past, text-generation, text-classification" in str(error)


def test_a_shape_for_no_input_lists_the_inputs(tiny: Tiny) -> None:
    assert "input_ids, attention_mask" in str(refusal(tiny("bert"), shapes={"pixels": (1, 2)}))


def test_caches_that_are_no_keys_and_values_are_declined(tiny: Tiny) -> None:
    error = refusal(tiny("mamba"))
    assert isinstance(error, Declined) and error.blockers[0].rule == "no-key-value-cache"
    assert "--task text-generation" in error.blockers[0].rewrite


def test_a_truncated_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    place = changed(tiny("bert"), tmp_path)
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[:-100])
    assert isinstance(refusal(place), UnreadableInput)


def test_a_state_dict_in_a_bin_is_read_without_unpickling(tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    place = changed(tiny("bert"), tmp_path)
    tensors = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    torch.save(tensors, place / "pytorch_model.bin")
    same = SOURCE.runner(place, OpenOptions()), SOURCE.runner(tiny("bert"), OpenOptions())
    row = np.arange(6)[None]
    feeds = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    np.testing.assert_array_equal(*(runner.run(feeds)["logits"] for runner in same))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("whole", [True, False])
def test_a_bin_that_holds_more_than_tensors_is_refused(whole: bool, tiny: Tiny, tmp_path: Path) -> None:
    import torch

    place = changed(tiny("bert"), tmp_path)
    (place / "model.safetensors").unlink()
    if whole:
        torch.save({"a": torch.zeros(3), "b": Evil()}, place / "pytorch_model.bin")
    else:
        (place / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    error = refusal(place)
    assert isinstance(error, UnreadableInput) and "exec" in str(error)
