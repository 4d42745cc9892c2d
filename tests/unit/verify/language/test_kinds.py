"""Encoders and encoder-decoders: small linear maps in numpy that can be wrong in known ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from bessemer.verify.language import WeightProof, prove
from bessemer.verify.language.subjects import Arithmetic, Kind, Window, Words, halves
from bessemer.verify.language.texts import plan

SIZE = 40
TABLE = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)


@dataclass
class Linear:
    """Logits of a token are a row of a table; a decoder adds what its encoder read."""

    table: np.ndarray = field(default_factory=TABLE.copy)
    kind: Kind = "causal"
    arithmetic: Arithmetic = "F32"
    vocabulary: int = SIZE
    context: int = 128
    start: int = -1
    runtime: str = "numpy"
    words: Words | None = None

    def answers(self, windows: Sequence[Window]) -> Iterator[np.ndarray]:
        for window in windows:
            if self.kind == "seq2seq":
                source, target = halves(window, self.start)
                yield self.table[target] + self.table[source].mean(0)
            else:
                yield self.table[list(window)]

    def embeddings(self, window: Window) -> np.ndarray:
        return self.table[list(window)]

    def close(self) -> None: ...


def noisy(size: float) -> np.ndarray:
    return (TABLE + size * np.random.default_rng(1).standard_normal(TABLE.shape)).astype(np.float32)


@pytest.mark.parametrize(("noise", "arithmetic", "holds"), [(0, "F32", True), (1e-4, "F32", True), (1e-2, "F32", False),
                                                         (1e-2, "F16", True), (0.3, "Q8", False)])  # fmt: skip
def test_encoders_by_the_cosine_of_their_embeddings(noise: float, arithmetic: Arithmetic, holds: bool) -> None:
    table = noisy(noise)
    proof = prove(Linear(kind="encoder"), Linear(table, "encoder", arithmetic))
    (found,) = proof.embeddings
    assert proof.runs == []
    assert proof.within is holds
    products = (TABLE * table).sum(-1) / np.linalg.norm(TABLE, axis=-1) / np.linalg.norm(table, axis=-1)
    assert found.cosine == pytest.approx(products.min(), abs=1e-6)
    assert found.max_abs == pytest.approx(np.abs(TABLE - table).max(), rel=1e-6)


def test_a_quantized_encoder_is_held_against_its_decoded_weights() -> None:
    coarse = noisy(0.3)
    weights = WeightProof(equal=False)
    honest = prove(
        Linear(kind="encoder"), Linear(coarse, "encoder", "Q8"), decoded=Linear(coarse, "encoder"), weights=weights,
        types=("Q4_0",),
    )  # fmt: skip
    assert honest.within
    assert [found.comparison for found in honest.embeddings] == ["quantization", "runtime", "overall"]
    wrong = prove(
        Linear(kind="encoder"), Linear(coarse[::-1], "encoder", "Q8"), decoded=Linear(coarse, "encoder"),
        weights=weights, types=("Q4_0",),
    )  # fmt: skip
    assert not wrong.within


def test_embeddings_that_are_not_finite_fail() -> None:
    proof = prove(Linear(kind="encoder"), Linear(np.full_like(TABLE, np.nan), "encoder"))
    assert not proof.within
    assert proof.embeddings[0].cosine is None


def test_a_decoder_is_judged_behind_its_encoder() -> None:
    proof = prove(Linear(kind="seq2seq", start=0), Linear(kind="seq2seq", start=0))
    assert proof.within
    assert [(run.length, run.tokens) for run in proof.runs] == [(64, 4 * 33), (128, 65)]
    rolled = prove(Linear(kind="seq2seq", start=0), Linear(np.roll(TABLE, 1, 0), "seq2seq", start=0))
    assert not rolled.within


def test_what_the_runtime_adds_is_judged_beside_the_quantizations_loss() -> None:
    """The artifact departs from its decoded weights by as much as they do from the original: in Q4_0 that is an error."""
    coarse, other = noisy(0.3), noisy(0.3) + 0.3 * np.random.default_rng(5).standard_normal(TABLE.shape).astype("f4")
    facts = {"decoded": Linear(coarse), "weights": WeightProof(equal=False)}
    sound = prove(Linear(), Linear(coarse, arithmetic="Q8"), types=("Q4_0",), **facts)
    wrong = prove(Linear(), Linear(other, arithmetic="Q8"), types=("Q4_0",), **facts)
    assert sound.within
    assert not wrong.within
    (runtime,) = (run for run in wrong.runs if run.comparison == "runtime")
    assert not runtime.within


def test_without_a_tokenizer_tokens_are_drawn() -> None:
    proof = prove(Linear(), Linear())
    assert proof.text.startswith("random tokens")
    assert proof.tokens is None


def test_ends_of_a_text_are_compared_where_both_say_them() -> None:
    def words(*ends: tuple[int, ...] | None) -> Words:
        return Words(lambda texts: [[1, 2] for _ in texts], *ends)

    sides = (Linear(words=words((1,), ())), Linear(words=words((), ())), Linear(words=words(None, None)))
    assert not prove(sides[0], sides[1], corpus=("x",)).within
    assert prove(sides[0], sides[2], corpus=("x",)).within
    assert prove(sides[2], sides[0], corpus=("x",)).within


@pytest.mark.parametrize(("parameters", "read"), [(0, (4, 512)), (10**9, (2, 300)), (8 * 10**9, (2, 256))])
def test_large_models_read_less(parameters: int, read: tuple[int, int]) -> None:
    sides = Linear(context=0), Linear(context=0)
    made = plan(list(range(SIZE)) * 40, None, *sides, parameters)
    assert (len(made.short), len(made.long[0])) == read
    assert {len(window) for window in made.short} == {64}
