"""The reference evaluator's own rules: what it tells an observer, what it refuses, how texts and parts of texts agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bessemer.ir.decoder import Decoder, Experts, Latent, Layer, Rope
from bessemer.ir.errors import UsageError
from bessemer.runners.decoder.checking import Contradiction, check
from bessemer.runners.decoder.experts import routed
from bessemer.runners.decoder.runner import DecoderRunner
from bessemer.runners.decoder.session import DecoderSession
from bessemer.runners.decoder.tables import slopes

ROPE = Rope(4, 10000.0)
PLAIN = Decoder(
    layers=(Layer(ROPE), Layer(ROPE, window=3)), hidden=8, heads=2, kv_heads=1, head_dim=4, vocabulary=11, context=32,
    activation="silu", eps=1e-5, scale=0.5,
)  # fmt: skip


def weights(decoder: Decoder, experts: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    wide, narrow = decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (11, 8), "output": (11, 8), "output_norm": (8,)}
    for place in range(len(decoder.layers)):
        own: dict[str, tuple[int, ...]] = {
            "attn_norm": (8,), "attn_q": (wide, 8), "attn_k": (narrow, 8), "attn_v": (narrow, 8), "attn_output": (8, wide),
            "ffn_norm": (8,),
        }  # fmt: skip
        if experts:
            own |= {"ffn_gate_inp": (experts, 8), "ffn_gate_exps": (experts, 6, 8), "ffn_up_exps": (experts, 6, 8),
                    "ffn_down_exps": (experts, 8, 6)}  # fmt: skip
        else:
            own |= {"ffn_gate": (12, 8), "ffn_up": (12, 8), "ffn_down": (8, 12)}
        shapes |= {f"blk.{place}.{role}": shape for role, shape in own.items()}
    return {f"{role}.weight": rng.normal(size=shape).astype(np.float32) for role, shape in shapes.items()}


def test_a_text_in_parts_is_the_text_at_once() -> None:
    held = weights(PLAIN)
    session = DecoderSession(DecoderRunner(PLAIN, held.get), past=True)
    ids = np.array([[1, 5, 2, 9, 7, 3, 3]])
    whole = DecoderRunner(PLAIN, held.get).logits(ids)
    past = {spec.name: np.zeros((1, 1, 0, 4), np.float32) for spec in session.signature.inputs[3:]}
    found = []
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        feeds = {"input_ids": ids[:, start:stop], "attention_mask": np.ones((1, stop), np.int64),
                 "position_ids": np.arange(start, stop)[None]}  # fmt: skip
        answer = session.run({**feeds, **past})
        found.append(answer.pop("logits"))
        past = {name.replace("present", "past_key_values"): array for name, array in answer.items()}
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)


def test_several_texts_are_those_texts_and_padding_is_not_seen() -> None:
    held = weights(PLAIN)
    runner = DecoderRunner(PLAIN, held.get)
    texts = np.array([[1, 5, 2, 9], [7, 3, 3, 0]])
    for text, logits in zip(texts, runner.logits(texts), strict=True):
        np.testing.assert_allclose(runner.logits(text), logits, rtol=1e-5, atol=1e-5)
    session = DecoderSession(runner, past=False)
    feeds = {"input_ids": np.array([[4, 4, 1, 5, 2, 9]]), "attention_mask": np.array([[0, 0, 1, 1, 1, 1]]),
             "position_ids": np.array([[0, 0, 0, 1, 2, 3]])}  # fmt: skip
    padded = session.run(feeds)["logits"][0, 2:]
    np.testing.assert_allclose(padded, runner.logits(texts[0]), rtol=1e-5, atol=1e-5)


def test_an_observer_sees_what_each_matrix_is_multiplied_with() -> None:
    experts = Experts(count=4, used=2, normalized=True)
    decoder = replace(PLAIN, layers=(Layer(ROPE, experts=experts),))
    held, seen = weights(decoder, 4), list[tuple[str, int | None, int]]()

    def observer(role: str, x: Any, expert: int | None) -> None:
        matrix = held[f"{role}.weight"]
        assert x.shape[1] == matrix.shape[-1] and (expert is None) == (matrix.ndim == 2)
        seen.append((role, expert, len(x)))

    DecoderRunner(decoder, held.get, observer).logits([1, 2, 3, 4, 5])
    roles = {role for role, _, _ in seen}
    assert roles == {role.removesuffix(".weight") for role, array in held.items() if array.ndim > 1} - {"token_embd"}
    for name in ("gate", "up", "down"):
        sent = [count for role, expert, count in seen if role == f"blk.0.ffn_{name}_exps" and expert is not None]
        assert sum(sent) == 5 * 2


def test_experts_are_chosen_by_their_rules() -> None:
    logits = np.array([[2.0, 1.0, 0.5, -1.0]], np.float32)
    chosen, share = routed(logits, None, Experts(4, 2, normalized=True))
    assert chosen.tolist() == [[0, 1]]
    np.testing.assert_allclose(share, [[0.7310586, 0.26894143]], rtol=1e-6)
    np.testing.assert_allclose(routed(logits, None, Experts(4, 2, False, softmax_after=True))[1], share, rtol=1e-6)
    bias = np.array([0, 0, 0, 9], np.float32)
    chosen, share = routed(logits, bias, Experts(4, 1, normalized=False, sigmoid=True, scale=2.0))
    assert chosen.tolist() == [[3]]  # for the choice alone: the weight is the score's
    np.testing.assert_allclose(share, [[2 / (1 + np.e)]], rtol=1e-6)
    groups = Experts(4, 2, normalized=False, groups=2, groups_used=1)
    assert sorted(routed(np.array([[0, 3, 2, 2.5]], np.float32), None, groups)[0][0].tolist()) == [0, 1]
    assert sorted(routed(np.array([[0, 3, 2, 2.5]], np.float32), bias * 0, groups)[0][0].tolist()) == [0, 1]


def test_slopes_are_those_of_the_paper() -> None:
    np.testing.assert_allclose(slopes(8, 8.0), [2.0**-n for n in range(1, 9)])
    np.testing.assert_allclose(slopes(3, 8.0), [2.0**-4, 2.0**-8, 2.0**-2])


@pytest.mark.parametrize(
    ("tokens", "said"),
    [([1, 99], "outside the vocabulary of 11"), ([[1], [2, 3]], "as many tokens each"), ([], "are no text")],
)
def test_tokens_that_do_not_fit_are_refused(tokens: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        DecoderRunner(PLAIN, weights(PLAIN).get).logits(tokens)


def test_weights_that_fit_pass_and_others_are_told() -> None:
    shapes = {role: array.shape for role, array in weights(PLAIN).items()}
    check(PLAIN, shapes)
    wrong: tuple[tuple[dict[str, Any], dict[str, tuple[int, ...]], str], ...] = (
        ({}, {"blk.1.ffn_up.weight": (12, 9)}, "takes 9 columns, and 8 come in"),
        ({}, {"blk.0.attn_k.weight": (8, 8)}, "columns of keys: 8 and 4"),
        ({}, {"blk.0.attn_norm.weight": (7,)}, "7 elements, where 8"),
        ({}, {"output.weight": (10, 8)}, "gives 10 logits, the settings say 11"),
        ({"vocabulary": 12}, {}, "has 11 rows, the settings ask for 12"),
        ({"heads": 1}, {}, "columns of queries: 8 and 4"),
        ({"layers": (*PLAIN.layers, Layer(ROPE))}, {}, "blk.2.attn_norm.weight is missing"),
        ({"layers": (Layer(Rope(6, 10000.0)),)}, {}, "6 columns of a head turn, and it has 4"),
        ({"latent": Latent(0, 4, 2, 2, 4)}, {}, "blk.0.attn_kv_a_mqa.weight is missing"),
    )
    for fields, others, said in wrong:
        with pytest.raises(Contradiction, match=said):
            check(replace(PLAIN, **fields), {**shapes, **others})


def test_weights_without_a_part_in_the_computation_are_told() -> None:
    shapes = {role: array.shape for role, array in weights(PLAIN).items()}
    with pytest.raises(Contradiction, match=r"blk.0.attn_sinks.weight \(1 in all\) has no part"):
        check(PLAIN, {**shapes, "blk.0.attn_sinks.weight": (2,)})
