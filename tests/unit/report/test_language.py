"""A proof of language models in words, on a terminal and on the page."""

from __future__ import annotations

import pytest
from rich.console import Console

from bessemer.report import html, language, terminal
from bessemer.verify import evidence as ev


def run(
    comparison: ev.Comparison, mean: float | None, limit: float | None, **other: object
) -> ev.LanguageRun:
    facts = {
        "context": "short",
        "length": 64,
        "tokens": 256,
        "same_top": 0.75,
        "original": 39.97,
        "artifact": 42.9,
    }
    within = mean is not None and (limit is None or mean <= limit)
    held = {"mean_kld": mean, "max_kld": mean, "spread": 2.7, "limit": limit, "within": within}
    return ev.LanguageRun.model_validate({"comparison": comparison, **facts, **held, **other})


def proof(*runs: ev.LanguageRun, **other: object) -> ev.Language:
    facts = {"original": "transformers 5.23.0", "artifact": "llama.cpp 0.5.0", "decoded": "the reference"}
    said = {"text": "a text", "bound": "kl(0.005, 0.1 loss)", "within": True, "runs": list(runs)}
    return ev.Language.model_validate({**facts, **said, **other})


TOKENS = ev.LanguageTokens(original="tokenizer.model", artifact="llama.cpp", texts=195, differing=0)
SOUND = ev.LanguageWeights(type="F32", tensors=16, identical=16, worst="a", snr=None, floor=140, within=True)
BLURRED = ev.LanguageWeights(
    type="Q4_0", tensors=1, identical=0, worst="mlp.up", snr=20.35, floor=14, within=True
)
GOOD = proof(
    run("quantization", 0.228, None), run("runtime", 7.85e-4, 0.0228), run("overall", 0.226, 0.5),
    run("overall", 0.18, 1.0, context="long"), tokens=TOKENS, weights=[BLURRED, SOUND],
)  # fmt: skip


def row(held: ev.Language) -> ev.TargetEvidence:
    return ev.TargetEvidence(
        target="gguf", precision="Q4_0", options={}, status="executed" if held.within else "failed",
        verified=held.within, summary="Ran.", language=held,
    )  # fmt: skip


def shown(held: ev.Language, width: int = 160) -> str:
    console = Console(width=width, record=True, color_system=None)
    console.print(*terminal.targets([row(held)]))
    return console.export_text()


def test_the_lines_of_a_proof_that_holds() -> None:
    assert list(language.lines(GOOD)) == [
        ("tokenizer", "tokenizer.model and llama.cpp agree on 195 hard texts", True),
        (
            "short text",
            "KL divergence 0.226 (largest 0.226), same top token 75 %, perplexity 39.97 → 42.9",
            True,
        ),
        (
            "long text",
            "KL divergence 0.18 (largest 0.18), same top token 75 %, perplexity 39.97 → 42.9",
            True,
        ),
        ("loss", "rounding the weights alone costs 0.228, its runtime adds 7.85e-04", True),
        ("weights", "Q4_0: 1 tensor, worst 20.4 dB (floor 14 dB): mlp.up", True),
        ("weights", "F32: 16 tensors, every value the original's", True),
    ]
    assert "KL div." in shown(GOOD)
    assert "0.226" in shown(GOOD).splitlines()[1]


def test_what_fails_names_its_limit() -> None:
    bad = proof(
        run("overall", None, 0.5), problems=["'a' is not in the artifact"], within=False,
        tokens=TOKENS.model_copy(update={"differing": 2, "examples": ["'x': [1], in the artifact [2], from token 0"]}),
    )  # fmt: skip
    held = {label: (said, fine) for label, said, fine in language.lines(bad)}
    assert held["tokenizer"] == ("tokenizer.model and llama.cpp differ on 2 of 195 hard texts", False)
    assert "KL divergence ∞ (largest ∞, limit 0.5)" in held["short text"][0]
    assert held["wrong"] == ("'a' is not in the artifact", False)
    assert not any(fine for _, fine in held.values())


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("kl(1e-07)", "a mean divergence up to 1e-07 of what the text tells the model"),
        ("kl(0.005, 16 dB)", "tells the model, and the weights' noise 16 dB louder"),
        ("kl(0.005, 0.1 loss)", "beside the decoded weights a mean divergence up to 0.005"),
        ("every tensor there", "every tensor there"),
    ],
)
def test_bounds_in_words(bound: str, said: str) -> None:
    assert said in language.bound(GOOD.model_copy(update={"bound": bound}))


def test_encoders_are_compared_by_their_embeddings() -> None:
    found = ev.LanguageEmbedding(
        comparison="overall", tokens=768, cosine=0.99999, max_abs=3e-5, limit=1e-4, within=True
    )
    (line,) = language.lines(proof(embeddings=[found]))
    said = "lowest cosine 0.9999900, largest difference 3.00e-05 over 768 tokens"
    assert line == ("embeddings", f"original, artifact: {said}", True)


def test_the_page_shows_the_proof_and_escapes_the_models_texts(sample: ev.Evidence) -> None:
    hostile = TOKENS.model_copy(update={"differing": 1, "examples": ["<script>x</script>"]})
    bad = GOOD.model_copy(update={"tokens": hostile, "problems": ["<b>gone</b>"]})
    page = html.render(sample.model_copy(update={"targets": [row(GOOD), row(bad), *sample.targets]}))
    assert "KL divergence" in page
    assert "decoded weights, artifact" in page
    assert "39.97 → 42.9" in page
    assert "&lt;script&gt;x" in page
    assert "<b>gone" not in page


def test_other_reports_have_no_such_column(sample: ev.Evidence) -> None:
    assert "KL divergence" not in html.render(sample)
