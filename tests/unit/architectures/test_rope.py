"""Scalings of rotary positions: frequencies against transformers' own, parameters recovered from GGUF's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bessemer.architectures import rope
from bessemer.architectures.settings import Record
from bessemer.weights import views


def _llama3(factor: float, low: float, high: float, context: int) -> dict[str, Any]:
    return {
        "factor": factor, "low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": context,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scaling", "theta", "dims", "exact"),
    [
        (_llama3(8.0, 1.0, 4.0, 8192), 500000.0, 128, True), (_llama3(32.0, 1.0, 4.0, 8192), 500000.0, 64, True),
        (_llama3(16.0, 1.0, 8.0, 5000), 10000.0, 128, True), (_llama3(8.0, 2.0, 8.0, 16384), 500000.0, 128, False),
    ],
)  # fmt: skip
def test_llama3_comes_back_from_its_tensor(scaling: dict[str, Any], theta: float, dims: int, exact: bool) -> None:
    config = {"rope_theta": theta, "rope_scaling": {"rope_type": "llama3", **scaling}}
    made = rope.llama3_tensor(config, dims)
    held = {name: views.from_array(name, values) for name, values in made.items()}
    record = Record({"general.architecture": "llama", "llama.rope.freq_base": theta}, held)
    blockers: list[Any] = []
    found = rope.Scaling().read(record, blockers)
    assert not blockers
    again = rope.llama3_tensor({"rope_theta": theta, **found}, dims)["rope_freqs.weight"]
    np.testing.assert_allclose(again, made["rope_freqs.weight"], rtol=1e-6)
    assert (found == {"rope_scaling": config["rope_scaling"]}) == exact  # half of both is the same


def test_frequencies_that_no_llama3_has_are_declined() -> None:
    strange = views.from_array("rope_freqs.weight", np.array([1, 3, 2, 9, 1], np.float32))
    blockers: list[Any] = []
    assert rope.Scaling().read(Record({"general.architecture": "llama"}, {strange.name: strange}), blockers) == {}
    assert blockers[0].node == "rope_freqs.weight"


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "linear", "factor": 4.0}, {"rope_type": "llama3", **_llama3(8.0, 1.0, 4.0, 64)},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 16.0, "beta_slow": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.5},
        {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 0.7},
        {"rope_type": "longrope", "short_factor": [1.0 + at / 9 for at in range(32)], "long_factor": [2.0] * 32,
         "original_max_position_embeddings": 64},
    ],
)  # fmt: skip
def test_frequencies_are_those_of_transformers(parameters: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    settings = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 256}
    config = transformers.LlamaConfig(**settings, rope_parameters={"rope_theta": 10000.0, **parameters})
    theirs, magnitude = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"), seq_len=32)
    ours = rope.rope({**settings, "rope_theta": 10000.0, "rope_scaling": parameters}, 64)
    np.testing.assert_allclose(ours.inverse, theirs.numpy(), rtol=2e-6)
    assert ours.magnitude == pytest.approx(magnitude)


def test_every_spelling_of_a_scaling_is_one() -> None:
    scaling = {"rope_type": "linear", "factor": 2.0}
    new = rope.unified({"rope_parameters": {**scaling, "rope_theta": 5e5, "partial_rotary_factor": 0.5}})
    old = rope.unified({"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5e5, "partial_rotary_factor": 0.5})
    assert new == old == {"rope_theta": 5e5, "partial_rotary_factor": 0.5, "rope_scaling": scaling}
    assert rope.unified({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}) == {"rope_theta": 1e4}
    assert rope.kind({"rope_scaling": {"rope_type": "su"}}) == "longrope"


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear"}, {"rope_type": "linear", "factor": 0}, {"rope_type": "linear", "factor": "two"},
        {"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
        {"rope_type": "linear", "factor": 2.0, "strange": 1},
    ],
)  # fmt: skip
def test_scalings_that_cannot_be_carried_are_blockers(scaling: dict[str, Any]) -> None:
    blockers: list[Any] = []
    assert rope.Scaling().write({"rope_theta": 1e4, "rope_scaling": scaling}, blockers) == {}
    assert blockers and all(blocker.node.startswith("rope_scaling") for blocker in blockers)
